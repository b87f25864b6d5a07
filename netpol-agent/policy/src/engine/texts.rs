//! Names of which there is one for each pod of the cluster: those of one length lie beside each other, without room between
//! them and without a pointer and a length for each. What goes leaves its place to the next of its length.

use std::collections::BTreeMap;

/// Names of one piece, where they are as long as the API server lets them be; longer ones, of manifests, have one each.
const fn piece(len: usize) -> usize {
    if len < 256 { 64 } else { 1 }
}

/// Where a name is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Text {
    len: u32,
    at: u32,
}

/// Names.
#[derive(Debug, Default)]
pub(super) struct Texts {
    by_length: BTreeMap<usize, Cells>,
}

/// Names of one length.
#[derive(Debug, Default)]
struct Cells {
    pieces: Vec<Box<[u8]>>,
    /// Places that were given once.
    given: u32,
    /// Those of them that nothing has any more.
    free: Vec<u32>,
}

impl Texts {
    /// Keeps a name.
    pub(super) fn put(&mut self, name: &str) -> Text {
        let len = name.len();
        let Cells { pieces, given, free } = self.by_length.entry(len).or_default();
        let at = free.pop().unwrap_or_else(|| {
            *given += 1;
            *given - 1
        });
        let (of, from) = (at as usize / piece(len), at as usize % piece(len) * len);
        if pieces.len() == of {
            pieces.push(vec![0; piece(len) * len].into());
        }
        pieces[of][from..from + len].copy_from_slice(name.as_bytes());
        Text { len: len as u32, at }
    }

    pub(super) fn get(&self, text: Text) -> &str {
        let (len, at) = (text.len as usize, text.at as usize);
        let (of, from) = (at / piece(len), at % piece(len) * len);
        let cells = self.by_length.get(&len);
        let bytes = cells.and_then(|cells| cells.pieces.get(of)?.get(from..from + len));
        // It was a name when it was put there.
        bytes.and_then(|bytes| str::from_utf8(bytes).ok()).unwrap_or_default()
    }

    /// Lets a name go.
    pub(super) fn remove(&mut self, text: Text) {
        if let Some(cells) = self.by_length.get_mut(&(text.len as usize)) {
            cells.free.push(text.at);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::Texts;

    #[test]
    fn names_are_what_they_were_and_places_are_given_again() {
        let mut texts = Texts::default();
        let names: Vec<String> =
            (0..1000_u32).map(|number| "ä".repeat(number as usize % 7) + &number.to_string()).collect();
        let put: Vec<_> = names.iter().map(|name| texts.put(name)).collect();
        for (name, text) in names.iter().zip(&put) {
            assert_eq!(texts.get(*text), name);
        }
        texts.remove(put[500]);
        assert_eq!(texts.put(&names[500]), put[500]);
        for name in [String::new(), "n".repeat(1000)] {
            let (one, other) = (texts.put(&name), texts.put(&name));
            assert_eq!((texts.get(one), texts.get(other)), (&*name, &*name));
        }
        assert_eq!(texts.get(put[999]), names[999]);
    }
}
