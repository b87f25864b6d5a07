//! A question to a name server over TCP, which busybox's nslookup cannot ask.

use std::net::IpAddr;

/// The message that asks for the addresses of a name, with its length in front of it.
pub(super) fn question(name: &str, v4: bool) -> Vec<u8> {
    // An id, recursion desired, one question.
    let mut message = vec![0x6e, 0x70, 1, 0, 0, 1, 0, 0, 0, 0, 0, 0];
    for label in name.split('.') {
        message.push(u8::try_from(label.len()).unwrap_or(0));
        message.extend(label.bytes());
    }
    // The end of the name; type A or AAAA, class IN.
    message.extend([0, 0, if v4 { 1 } else { 28 }, 0, 1]);
    let length = u16::try_from(message.len()).unwrap_or(u16::MAX);
    [length.to_be_bytes().as_slice(), &message].concat()
}

/// Whether an answer, in hexadecimal digits, holds an address.
pub(super) fn holds(answer: &str, address: IpAddr) -> bool {
    let bytes = match address {
        IpAddr::V4(address) => address.octets().to_vec(),
        IpAddr::V6(address) => address.octets().to_vec(),
    };
    let digits: String = bytes.iter().map(|byte| format!("{byte:02x}")).collect();
    answer.contains(&digits)
}

#[cfg(test)]
mod tests {
    use super::{holds, question};

    #[test]
    fn a_question_is_as_the_standard_says() {
        let expected = b"\0\x15np\x01\0\0\x01\0\0\0\0\0\0\x01a\x02bc\0\0\x1c\0\x01";
        // 12 bytes of header, 6 of the name, 4 of type and class.
        let question = question("a.bc", false);
        assert_eq!(question[2..], expected[2..]);
        assert_eq!(question[..2], [0, 22]);
    }

    #[test]
    fn an_address_is_found_in_an_answer() {
        let address = "10.96.0.88".parse().expect("an address");
        assert!(holds("c00c00010001000000050004 0a600058".replace(' ', "").as_str(), address));
        assert!(!holds("0a600059", address));
    }
}
