use crate::{
    engine::tests::build::{block, labels, net, selector},
    lint::imply::{block_covers, contradiction, implies},
    model::{IpBlock, PolicyPeer},
    spec::matching,
};

const SELECTORS: [&str; 12] =
    ["", "a=1", "a=2", "a", "!a", "a!=1", "a=1,b=1", "b", "!b", "a,b!=1", "a=1,a!=2", "a=1,a=2"];
const LABELS: [&str; 9] = ["", "a=1", "a=2", "b=1", "a=1,b=1", "a=2,b=1", "a=1,b=2", "a=3", "a=3,b=3"];

#[test]
fn what_implies_another_never_matches_more_than_it() {
    let mut yes = 0;
    for narrow in SELECTORS {
        for wide in SELECTORS {
            if implies(&selector(narrow), &selector(wide)) {
                yes += 1;
                for of in LABELS.map(labels) {
                    let more =
                        matching::selects(&selector(narrow), &of) && !matching::selects(&selector(wide), &of);
                    assert!(!more, "{narrow} implies {wide}: {of:?}");
                }
            }
        }
    }
    assert!(yes >= 40, "{yes}");
}

#[test]
fn what_contradicts_itself_matches_nothing() {
    for text in SELECTORS {
        let matches = LABELS.iter().any(|of| matching::selects(&selector(text), &labels(of)));
        assert_eq!(contradiction(&selector(text)).is_some(), text == "a=1,a=2", "{text}");
        assert_eq!(matches, text != "a=1,a=2", "{text}");
    }
}

fn blocks() -> Vec<IpBlock> {
    let all = [
        block("10.0.0.0/28", &[]),
        block("10.0.0.0/28", &["10.0.0.8/29"]),
        block("10.0.0.0/28", &["10.0.0.8/30"]),
        block("10.0.0.0/28", &["10.0.0.0/28"]),
        block("10.0.0.0/29", &[]),
        block("10.0.0.8/29", &[]),
        block("10.0.0.8/29", &["10.0.0.8/30"]),
        block("10.0.0.0/27", &["10.0.0.9/32", "10.0.0.16/28"]),
        block("10.0.0.12/30", &[]),
    ];
    let one = |peer| match peer {
        PolicyPeer::Block(block) => block,
        _ => panic!(),
    };
    all.map(one).into()
}

#[test]
fn a_block_that_covers_another_contains_all_of_its_addresses() {
    let mut yes = 0;
    for wide in blocks() {
        for narrow in blocks() {
            let all = net("10.0.0.0/27").hosts();
            let within = all
                .filter(|one| matching::block_contains(&narrow, *one))
                .all(|one| matching::block_contains(&wide, one));
            let covers = block_covers(&wide, &narrow);
            assert!(!covers || within, "{wide:?} {narrow:?}");
            yes += usize::from(covers);
        }
    }
    assert!(yes > 20, "{yes}");
}
