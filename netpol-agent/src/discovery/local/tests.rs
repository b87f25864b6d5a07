use super::*;

fn places(names: &str, excluded: &str) -> Places {
    Places {
        cache: "/x".into(),
        sandboxes: "/run/netns".into(),
        names: vec![names.to_owned()],
        excluded: vec![excluded.to_owned()],
    }
}

#[test]
fn a_pattern_that_is_none_is_refused() {
    assert!(Local::new(places("cni-*", "veth*")).is_ok());
    assert!(Local::new(places("[", "veth*")).is_err());
    assert!(Local::new(places("cni-*", "[")).is_err());
}
