//! Flows to a Service: judged where they are sent by its address, and where they arrive by the backend's.

use std::collections::BTreeMap;

use netpol_policy::spec::{Answer, Sender, Traffic};
use netpol_tests::kernel::craft::at;

use crate::{
    ask::{End, Place, Said, Way},
    scene::Scene,
    sent::{Sent, Step, What},
};

/// A Service's address by each family.
pub(crate) type Frontend = [&'static str; 2];

/// A flow and the backend that it is led to.
#[derive(Clone, Debug)]
pub(crate) struct LedTo {
    pub(crate) from: End,
    pub(crate) to: End,
    pub(crate) port: u16,
    pub(crate) what: What,
    pub(crate) v4: bool,
}

/// A backend by its name, its port, and whether the flow that is led there passes.
pub(crate) type Led<'a> = (&'a str, u16, bool);

impl Scene {
    /// A new flow to a Service passes or not, by where it is led; all backends are named.
    #[track_caller]
    pub(crate) fn leads(&mut self, from: &str, to: Frontend, what: What, backends: &[Led<'_>]) {
        let from = self.end(from);
        for (v4, frontend) in [(true, to[0]), (false, to[1])] {
            let (src, dst) = (from.address(v4).unwrap(), frontend.parse().unwrap());
            let payload = what.payload(v4);
            let answer = self.spec.answer(&Traffic { src: Sender::Address(src), dst, payload });
            let Answer::Backends(verdicts) = answer else { panic!("{frontend} is no Service's: {answer:?}") };
            let specified: BTreeMap<_, _> =
                verdicts.iter().map(|one| ((one.backend.address, one.backend.port), one.verdict)).collect();
            let ends: Vec<(End, u16, bool)> =
                backends.iter().map(|(name, port, passes)| (self.end(name), *port, *passes)).collect();
            assert_eq!(specified.len(), ends.len(), "{specified:?}");
            for (end, port, passes) in ends {
                let address = end.address(v4).unwrap();
                let verdict = specified.get(&(address, port));
                let verdict = verdict.unwrap_or_else(|| panic!("{address} {port} is not in {specified:?}"));
                assert_eq!(verdict.passes(), passes, "the specification says of {address} {port}");
                let said = self.led(&from, frontend, what, (&end, port), v4);
                assert_eq!(said.passes, passes, "the tables say of {address} {port}: {:?}", said.why);
            }
        }
    }

    /// A new flow to a Service that translation leads to this backend.
    #[track_caller]
    pub(crate) fn led(
        &mut self,
        from: &End,
        frontend: &str,
        what: What,
        (to, port): (&End, u16),
        v4: bool,
    ) -> Said {
        let client = self.new_port();
        let flow = LedTo { from: from.clone(), to: to.clone(), port, what, v4 };
        self.led_by(&flow, [frontend; 2], client, Step::Opens)
    }

    /// A packet of a flow to a Service, by the port of its client.
    #[track_caller]
    pub(crate) fn led_by(&mut self, flow: &LedTo, frontend: [&str; 2], client: u16, step: Step) -> Said {
        let LedTo { from, to, port, what, v4 } = flow;
        let client = at(from.address(*v4).unwrap(), client);
        let frontend = frontend[usize::from(!v4)].parse().unwrap();
        let asked = Sent::of_flow(*what, step, client, at(frontend, what.port()));
        let sender = from.here.clone().expect("a pod of this node");
        let said = self.judged(&Place::Out(sender), &asked);
        let Some(receiver) = to.here.clone().filter(|_| said.passes) else { return said };
        // What reaches its own sender is masqueraded.
        let node = self.end("node").address(*v4).unwrap();
        let client = if to == from { at(node, client.port()) } else { client };
        let arrived = Sent::of_flow(*what, step, client, at(to.address(*v4).unwrap(), *port));
        let Way::By(ifindex, tag) = self.way(from, said.tag) else { unreachable!() };
        self.judged(&Place::In(receiver, Way::By(ifindex, tag)), &arrived)
    }
}
