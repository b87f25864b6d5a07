//! Bars with labels, as SVG.

use crate::goals::Bound;
use crate::report::markdown::digits;

use super::scale::Scale;

/// Colours and type, by the names of what is drawn.
const STYLE: &str = include_str!("style.css");

const WIDTH: f64 = 900.0;
/// Where bars may begin and end; labels are before, figures behind.
const LEFT: f64 = 360.0;
const RIGHT: f64 = 760.0;
/// Space around a bar and beside the axis.
const GAP: f64 = 10.0;
const LINE: f64 = 14.0;
/// What a letter takes at most, on average.
const LETTER: f64 = 7.0;
/// Letters in a line of a label.
const LETTERS: usize = 49;

/// One bar.
pub(super) struct Bar {
    pub(super) label: &'static str,
    pub(super) value: f64,
    /// Where the median is sure to lie.
    pub(super) sure: (f64, f64),
    /// What its colour says.
    pub(super) colour: &'static str,
    /// Behind its value.
    pub(super) note: &'static str,
    pub(super) must: Bound,
    pub(super) moonshot: Bound,
}

/// What a colour or a sign means.
pub(super) enum Key {
    Colour(&'static str, &'static str),
    Must,
    Moonshot,
    Sure,
}

/// What a bound names.
pub(super) fn ends(bound: Bound) -> Vec<f64> {
    match bound {
        Bound::None => Vec::new(),
        Bound::AtMost(one) | Bound::AtLeast(one) => vec![one],
        Bound::Within(least, most) => vec![least, most],
    }
}

/// A plot with a title; `None` without any bar.
pub(super) fn draw(title: &str, bars: &[Bar], keys: &[Key], scale: &Scale) -> Option<String> {
    if bars.is_empty() {
        return None;
    }
    let mut body = String::new();
    line(&mut body, &format!(r#"<text class="title" x="{GAP}" y="24">{}</text>"#, escaped(title)));
    let top = legend(&mut body, keys) + 2.0 * GAP;
    let bottom = top + bars.iter().map(height).sum::<f64>();
    axis(&mut body, scale, top, bottom);
    let mut y = top;
    for bar in bars {
        draw_bar(&mut body, bar, scale, y);
        y += height(bar);
    }
    let under = bottom + 3.0 * GAP;
    Some(format!(
        "<svg xmlns=\"http://www.w3.org/2000/svg\" viewBox=\"0 0 {WIDTH} {under}\" role=\"img\" aria-labelledby=\"title\">\n\
         <title id=\"title\">{}</title>\n<style>\n{STYLE}</style>\n\
         <rect class=\"ground\" width=\"{WIDTH}\" height=\"{under}\"/>\n{body}</svg>\n",
        escaped(title)
    ))
}

/// Draws what the colours and signs mean, and says where it ends.
fn legend(body: &mut String, keys: &[Key]) -> f64 {
    let (mut x, mut y) = (GAP, 48.0);
    for key in keys {
        let text = match key {
            Key::Colour(_, text) => text,
            Key::Must => "must",
            Key::Moonshot => "moonshot",
            Key::Sure => "where the median is sure to lie",
        };
        let width = 24.0 + LETTER * text.chars().count() as f64 + GAP;
        if x + width > WIDTH {
            (x, y) = (GAP, y + LINE + 4.0);
        }
        let middle = y - 4.0;
        match key {
            Key::Colour(colour, _) => {
                line(
                    body,
                    &format!(r#"<rect class="{colour}" x="{x}" y="{}" width="16" height="10"/>"#, y - 9.0),
                );
            }
            Key::Must => must(body, x + 8.0, middle - 7.0, middle + 7.0),
            Key::Moonshot => moonshot(body, x + 8.0, middle - 3.0),
            Key::Sure => sure(body, x, x + 16.0, middle),
        }
        line(body, &format!(r#"<text x="{}" y="{y}">{}</text>"#, x + 22.0, escaped(text)));
        x += width;
    }
    y
}

fn axis(body: &mut String, scale: &Scale, top: f64, bottom: f64) {
    for mark in scale.marks() {
        let x = place(scale, mark);
        line(body, &format!(r#"<line class="grid" x1="{x:.1}" y1="{top}" x2="{x:.1}" y2="{bottom}"/>"#));
        let y = bottom + 16.0;
        line(body, &format!(r#"<text class="mark" x="{x:.1}" y="{y}" text-anchor="middle">{mark}</text>"#));
    }
    let x = place(scale, scale.foot());
    line(body, &format!(r#"<line class="foot" x1="{x:.1}" y1="{top}" x2="{x:.1}" y2="{bottom}"/>"#));
    if scale.is_logarithmic() {
        let y = bottom + 16.0;
        line(body, &format!(r#"<text class="mark" x="{GAP}" y="{y}">The axis is logarithmic.</text>"#));
    }
}

fn height(bar: &Bar) -> f64 {
    LINE * wrapped(bar.label).len() as f64 + GAP
}

fn draw_bar(body: &mut String, bar: &Bar, scale: &Scale, y: f64) {
    let lines = wrapped(bar.label);
    for (number, text) in lines.iter().enumerate() {
        let (x, y) = (LEFT - GAP, y + GAP / 2.0 + LINE * (number as f64 + 1.0) - 3.0);
        line(body, &format!(r#"<text x="{x}" y="{y}" text-anchor="end">{}</text>"#, escaped(text)));
    }
    let middle = y + height(bar) / 2.0;
    if bar.value.is_finite() {
        let (one, other) = (place(scale, scale.foot()), place(scale, bar.value));
        let (from, width) = (one.min(other), (one - other).abs());
        line(
            body,
            &format!(
                r#"<rect class="{}" x="{from:.1}" y="{}" width="{width:.1}" height="14"/>"#,
                bar.colour,
                middle - 7.0
            ),
        );
        sure(body, place(scale, bar.sure.0), place(scale, bar.sure.1), middle);
    }
    for end in ends(bar.must) {
        must(body, place(scale, end), middle - 10.0, middle + 10.0);
    }
    for end in ends(bar.moonshot) {
        moonshot(body, place(scale, end), middle - 11.0);
    }
    let said = format!("{} {}", digits(bar.value), bar.note);
    let (x, y) = (RIGHT + 2.0 * GAP, middle + 4.0);
    line(body, &format!(r#"<text x="{x}" y="{y}">{}</text>"#, escaped(said.trim_end())));
}

fn must(body: &mut String, x: f64, from: f64, to: f64) {
    line(body, &format!(r#"<line class="must" x1="{x:.1}" y1="{from}" x2="{x:.1}" y2="{to}"/>"#));
}

/// A triangle that points at it from above.
fn moonshot(body: &mut String, x: f64, y: f64) {
    line(body, &format!(r#"<path class="moonshot" d="M{:.1} {y}h8l-4 7z"/>"#, x - 4.0));
}

fn sure(body: &mut String, from: f64, to: f64, y: f64) {
    let (above, below) = (y - 3.0, y + 3.0);
    line(
        body,
        &format!(
            r#"<path class="sure" fill="none" d="M{from:.1} {above}V{below}M{from:.1} {y}H{to:.1}M{to:.1} {above}V{below}"/>"#
        ),
    );
}

fn place(scale: &Scale, value: f64) -> f64 {
    LEFT + scale.part(value) * (RIGHT - LEFT)
}

fn line(body: &mut String, text: &str) {
    body.push_str(text);
    body.push('\n');
}

/// A label's lines, as few as there can be, and of much the same length.
fn wrapped(label: &str) -> Vec<String> {
    // A quotient is torn apart nowhere beside its sign.
    let label = label.replace(" / ", "\u{a0}/\u{a0}");
    let lines = broken(&label, LETTERS);
    let mut narrower = (1..LETTERS).map(|letters| broken(&label, letters));
    narrower.find(|narrower| narrower.len() == lines.len()).unwrap_or(lines)
}

/// Lines of at most so many letters, unless a word has more.
fn broken(label: &str, letters: usize) -> Vec<String> {
    let mut lines: Vec<String> = Vec::new();
    for word in label.split(' ') {
        match lines.last_mut() {
            Some(last) if last.chars().count() + 1 + word.chars().count() <= letters => {
                last.push(' ');
                last.push_str(word);
            }
            _ => lines.push(word.to_owned()),
        }
    }
    lines
}

/// As text of XML, which knows no control characters.
fn escaped(text: &str) -> String {
    let mut escaped = String::new();
    for letter in text.chars() {
        match letter {
            '&' => escaped.push_str("&amp;"),
            '<' => escaped.push_str("&lt;"),
            '>' => escaped.push_str("&gt;"),
            letter if letter.is_control() => escaped.push(' '),
            letter => escaped.push(letter),
        }
    }
    escaped
}

#[cfg(test)]
mod tests;
