//! What is enforced, what is asked, and what must come of it: written down by hand from the policies' own words.

/// A set of policies.
#[derive(Debug)]
pub(crate) struct Scenario {
    /// Above its column.
    pub(crate) column: &'static str,
    /// In the progress.
    pub(crate) title: &'static str,
    /// The files that are in force, below the example's folder.
    pub(crate) files: &'static [&'static str],
}

/// The positive control, each scenario alone, and the whole.
pub(crate) const ALL: &[Scenario] = &[
    Scenario { column: "none", title: "no policy: everything must arrive", files: &[] },
    Scenario {
        column: "10",
        title: "10-default-deny-all alone",
        files: &["policies/10-default-deny-all.yaml"],
    },
    Scenario {
        column: "20",
        title: "20-allow-api-ingress alone",
        files: &["policies/20-allow-api-ingress.yaml"],
    },
    Scenario { column: "30", title: "30-api-egress alone", files: &["policies/30-api-egress.yaml"] },
    Scenario { column: "40", title: "40-db-ingress alone", files: &["policies/40-db-ingress.yaml"] },
    Scenario {
        column: "all",
        title: "all of them, with three additions of ours (frontend, DNS, a database that sends nothing)",
        files: &[
            "policies/10-default-deny-all.yaml",
            "policies/20-allow-api-ingress.yaml",
            "policies/30-api-egress.yaml",
            "policies/40-db-ingress.yaml",
            "additions/50-frontend.yaml",
            "additions/60-dns.yaml",
            "additions/70-database-sends-nothing.yaml",
        ],
    },
];

/// With which program a question is asked.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Client {
    /// `wget -qO- --timeout=3 --tries=1 http://NAME:PORT/health`, the name looked up by DNS.
    WgetName(&'static str),
    /// The same by a pod's address.
    WgetPod(&'static str, u16),
    /// The same by the address of [`OUTSIDE`](netpol_tests::laboratory::network::OUTSIDE).
    WgetOutside,
    /// HTTPS to that address.
    HttpsOutside,
    /// HTTPS to a private address beyond the cluster.
    HttpsPrivate,
    /// `nslookup`, over UDP.
    Nslookup,
    /// `nslookup`, over TCP.
    NslookupTcp,
    /// A connection to a Service's address, a line there and back.
    Service(&'static str, u16),
    /// A connection to a pod's address, a line there and back.
    Pod(&'static str, u16),
    /// An echo request to a pod.
    Ping(&'static str),
}

/// A row of the matrix.
#[derive(Debug)]
pub(crate) struct Row {
    /// The pod that asks, or `node`, or `outside`.
    pub(crate) from: &'static str,
    /// What is asked, for people.
    pub(crate) what: &'static str,
    /// How.
    pub(crate) client: Client,
    /// For each scenario: `+` arrives, `-` is dropped, `4` arrives by IPv4 only.
    pub(crate) expected: &'static str,
}

const API: &str = "api.production.svc:8080";
const HEALTH: &str = "wget http://api.production.svc:8080/health";
const LOOKUP: &str = "nslookup api.production.svc.cluster.local";

const fn row(from: &'static str, what: &'static str, client: Client, expected: &'static str) -> Row {
    Row { from, what, client, expected }
}

/// Every question; each is asked in every scenario, by IPv4 and by IPv6. The columns of `expected` are those of [`ALL`].
pub(crate) const ROWS: &[Row] = &[
    row("production/frontend", HEALTH, Client::WgetName(API), "+-++++"),
    row("monitoring/prometheus", HEALTH, Client::WgetName(API), "+-++++"),
    row("production/debug", HEALTH, Client::WgetName(API), "+--++-"),
    row("staging/frontend", HEALTH, Client::WgetName(API), "+--++-"),
    row(
        "production/debug",
        "wget the API by its pod's address",
        Client::WgetPod("production/api", 8080),
        "+--++-",
    ),
    row("outside", "wget the API by its pod's address", Client::WgetPod("production/api", 8080), "+--++-"),
    row("node", "wget the API by its pod's address", Client::WgetPod("production/api", 8080), "++++++"),
    row("monitoring/prometheus", "the API's port 9090", Client::Pod("production/api", 9090), "+--++-"),
    row("production/frontend", "ping the API", Client::Ping("production/api"), "+--++-"),
    row("production/frontend", LOOKUP, Client::Nslookup, "+-++++"),
    row("production/api", LOOKUP, Client::Nslookup, "+-++++"),
    row("production/api", "the same over TCP", Client::NslookupTcp, "+-++++"),
    row("production/postgres", LOOKUP, Client::Nslookup, "+-+++-"),
    row("production/debug", LOOKUP, Client::Nslookup, "+-+++-"),
    row("production/api", "the database's Service", Client::Service("production/postgres", 5432), "+-++++"),
    row(
        "production/frontend",
        "the database's Service",
        Client::Service("production/postgres", 5432),
        "+-++--",
    ),
    row(
        "monitoring/prometheus",
        "the database's Service",
        Client::Service("production/postgres", 5432),
        "+-++--",
    ),
    row("production/api", "the database's port 9187", Client::Pod("production/postgres", 9187), "+-+---"),
    // The policy's block is one of IPv4: it says nothing of IPv6, and so allows none of it.
    row("production/api", "HTTPS to the outside", Client::HttpsOutside, "+-+4+4"),
    row("production/api", "HTTPS to an excepted range", Client::HttpsPrivate, "+-+-+-"),
    row("production/api", "HTTP to the outside", Client::WgetOutside, "+-+-+-"),
    row("production/api", "the frontend's port 80", Client::WgetPod("production/frontend", 80), "+-+-+-"),
    row("production/frontend", "HTTPS to the outside", Client::HttpsOutside, "+-+++-"),
    row("production/postgres", "HTTPS to the outside", Client::HttpsOutside, "+-+++-"),
    row("outside", "the frontend's port 80", Client::WgetPod("production/frontend", 80), "+-++++"),
];
