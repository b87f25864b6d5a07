use super::{Bar, LETTERS, Scale, draw, escaped, wrapped};
use crate::cases;
use crate::goals::Bound;

fn bar(label: &'static str, value: f64) -> Bar {
    let (must, moonshot) = (Bound::Within(0.5, 2.0), Bound::AtMost(1.0));
    Bar { label, value, sure: (value, value), colour: "yes", note: "", must, moonshot }
}

/// The plot's lines with that beginning.
fn lines(scale: &Scale, beginning: &str) -> Vec<String> {
    let svg = draw("", &[bar("one", 1.0), bar("four", 4.0), bar("none", f64::NAN)], &[], scale).unwrap();
    svg.lines().filter(|line| line.starts_with(beginning)).map(str::to_owned).collect()
}

/// Where the bars begin, and how wide they are.
fn bars(scale: &Scale) -> Vec<(f64, f64)> {
    let number = |line: &str, name: &str| {
        let (_, rest) = line.split_once(&format!("{name}=\"")).unwrap();
        rest.split_once('"').unwrap().0.parse().unwrap()
    };
    let bars = lines(scale, r#"<rect class="yes""#);
    bars.iter().map(|line| (number(line, " x"), number(line, "width"))).collect()
}

#[test]
fn bars_are_as_long_as_their_values() {
    assert_eq!(bars(&Scale::linear(&[4.0])), [(360.0, 100.0), (360.0, 400.0)]);
    // From one, to the left and to the right.
    let logarithmic = Scale::fitting(&[0.1, 10.0], &[]);
    let long = format!("{:.1}", 200.0 * 4_f64.log10()).parse().unwrap();
    assert_eq!(bars(&logarithmic), [(560.0, 0.0), (560.0, long)]);
}

#[test]
fn each_end_of_a_bound_has_a_sign() {
    let scale = Scale::linear(&[4.0]);
    assert_eq!(lines(&scale, r#"<line class="must""#).len(), 2 * 3);
    assert_eq!(lines(&scale, r#"<path class="moonshot""#).len(), 3);
}

#[test]
fn text_is_no_markup() {
    assert_eq!(escaped("a < b && c > \"d\"\n"), "a &lt; b &amp;&amp; c &gt; \"d\" ");
    let svg = draw("1 < 2", &[bar("<b>", 1.0)], &[], &Scale::linear(&[1.0])).unwrap();
    assert!(svg.contains("<title id=\"title\">1 &lt; 2</title>") && svg.contains("&lt;b&gt;"), "{svg}");
    assert!(!svg.contains("1 < 2") && !svg.contains("<b>"), "{svg}");
}

#[test]
fn labels_are_wrapped_between_words() {
    let label = "pod that no policy selects, beside one that is isolated, IPv4: times empty";
    assert_eq!(
        wrapped(label),
        ["pod that no policy selects, beside one", "that is isolated, IPv4: times empty"]
    );
    let label = "first packet, an event each, with 100k peers: ours / the common shape";
    assert_eq!(
        wrapped(label),
        ["first packet, an event each, with", "100k peers: ours\u{a0}/\u{a0}the common shape"]
    );
    assert_eq!(wrapped("one"), ["one"]);
    let long = "w".repeat(60);
    assert_eq!(wrapped(&format!("a {long} b")), ["a", long.as_str(), "b"]);
    assert!(
        cases::all().iter().flat_map(|case| wrapped(case.what)).all(|line| line.chars().count() <= LETTERS)
    );
}
