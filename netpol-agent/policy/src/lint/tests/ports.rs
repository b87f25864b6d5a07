use serde_json::json;

use super::*;
use crate::spec::tests::fixture::{egress, ingress, with_ports};

const UNDECLARED: &str = "named-port-undeclared";
const OF_SERVICE: &str = "service-port-in-rule";

fn named(port: &str) -> Value {
    ingress("x", json!([{"ports": [{"port": port}]}]))
}

#[test]
fn a_name_that_no_receiving_pod_declares_is_reported_with_what_was_meant() {
    let api = with_ports(app("x", "api"), &["http=8080/TCP", "dns=53/UDP"]);
    let field = "spec.ingress[0].ports[0].port";
    reports(&[api.clone(), named("web")], UNDECLARED, field, "they declare http");
    reports(&[api.clone(), named("htpp")], UNDECLARED, field, "htpp/TCP");
    reports(&[api.clone(), named("htp")], UNDECLARED, field, "did you mean http?");
    reports(&[api.clone(), named("dns")], UNDECLARED, field, "it is declared for UDP");
    silent(&[api, named("http")], UNDECLARED);
    silent(&[named("http")], UNDECLARED);
}

#[test]
fn on_egress_the_peers_are_asked() {
    let api = with_ports(app("x", "api"), &["http=8080/TCP"]);
    let rule = |to: &str| egress("x", json!([{"to": [of_app(to)], "ports": [{"port": "http"}]}]));
    silent(&[api.clone(), app("x", "web"), rule("api")], UNDECLARED);
    reports(
        &[api.clone(), app("x", "web"), rule("web")],
        UNDECLARED,
        "spec.egress[0].ports[0].port",
        "x/web",
    );
    silent(&[api, egress("x", json!([{"ports": [{"port": "other"}]}]))], UNDECLARED);
}

#[test]
fn a_name_of_two_meanings_is_worth_knowing() {
    let one = with_ports(app("x", "a"), &["http=80/TCP"]);
    let two = with_ports(app("x", "b"), &["http=8080/TCP"]);
    let id = "named-port-differs";
    let field = "spec.ingress[0].ports[0].port";
    reports(&[one.clone(), two, named("http")], id, field, "80 on x/a, 8080 on x/b");
    silent(&[one.clone(), with_ports(app("x", "b"), &["http=80/TCP"]), named("http")], id);
}

#[test]
fn the_port_of_a_service_is_not_where_its_pods_listen() {
    let api = with_ports(app("x", "api"), &["http=8080/TCP"]);
    let rule = |port: u16| ingress("x", json!([{"ports": [{"port": port}]}]));
    let leads = |target: Value| service("x", "api", 80, target);
    let field = "spec.ingress[0].ports[0].port";
    for target in [json!(8080), json!("http")] {
        reports(
            &[api.clone(), leads(target.clone()), rule(80)],
            OF_SERVICE,
            field,
            "Service x/api, whose pod x/api listens on 8080/TCP",
        );
        silent(&[api.clone(), leads(target), rule(8080)], OF_SERVICE);
    }
    silent(&[api.clone(), leads(json!(80)), rule(80)], OF_SERVICE);
    let both = ingress("x", json!([{"ports": [{"port": 80}, {"port": "http"}]}]));
    silent(&[api, leads(json!(8080)), both], OF_SERVICE);
    let listens = with_ports(app("x", "api"), &["http=8080/TCP", "plain=80/TCP"]);
    silent(&[listens, leads(json!(8080)), rule(80)], OF_SERVICE);
}
