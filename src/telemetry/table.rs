//! Every metric that is no edge's, origin's or link's own. A new one is a new entry here; a test
//! finds what is missing.

use couplet_proto::metric::{Label, Metric};

use crate::config::Role;

/// What every node has.
const TABLE: &[Metric] = &[
    Metric::gauge("couplet_build_info", "1")
        .by(&[
            Label::given("version", "the version of this build"),
            Label::given("role", "which command runs: serve, edge or origin"),
        ])
        .says(
            "Always 1; its labels say what runs here.",
            "More than one version for long: an upgrade has stopped half-way.",
        ),
    Metric::gauge("couplet_ready", "0 or 1").says(
        "Whether `/readyz` says that clients can log in here, or by way of this node.",
        "0 for minutes after the start: `/readyz` and the log say what it waits for.",
    ),
    Metric::counter("couplet_log_lines_dropped_total", "lines").says(
        "Lines of the log lost because they came faster than they could be written.",
        "Any: whoever reads standard error is stuck, or `log.level` is too talkative.",
    ),
    Metric::counter("couplet_admin_requests_total", "requests")
        .by(&[
            Label::of("method", &["GET", "POST", "PUT", "DELETE", "other"]),
            Label::of(
                "outcome",
                &["done", "unauthenticated", "forbidden", "refused", "failed"],
            ),
        ])
        .says(
            "Requests to the management API, by what became of them.",
            "`unauthenticated` or `forbidden` in numbers: somebody tries tokens, or a tool has the \
             wrong one. The audit log says who and from where.",
        ),
    Metric::counter("couplet_admin_audit_lines_dropped_total", "lines").says(
        "Lines of the audit log lost because the disk was full or too slow.",
        "Any: look at the disk of `admin.audit_file`.",
    ),
    Metric::counter(super::spans::SPANS, "spans")
        .by(&[Label::of(
            "outcome",
            &["sent", "dropped", "failed", "refused"],
        )])
        .says(
            "Spans of stanzas that are traced.",
            "`dropped`: too many waited for the collector. `failed`: it was away for too long. \
             `refused`: it did not want them. Nothing but spans is lost; look at the collector, or \
             lower `trace.sample`.",
        ),
    Metric::counter("couplet_access_log_lines_total", "lines").says(
        "Lines of the access log that were written.",
        "None while clients come and go: the log is off, or cannot be written.",
    ),
    Metric::counter("couplet_access_log_lines_dropped_total", "lines")
        .by(&[Label::of("reason", &["full", "error"])])
        .says(
            "Lines of the access log that were lost.",
            "`full`: they came faster than the disk took them. `error`: the disk is full or the \
             folder cannot be written; the service goes on without the log.",
        ),
    Metric::counter("couplet_access_log_errors_total", "failures").says(
        "Failures to open, write or rename a file of the access log.",
        "Any: look at `access_log.folder` and its disk; the log names the cause.",
    ),
];

/// What a node with certificates has besides: an edge for clients, every node for its links.
const CERTIFICATES: &[Metric] = &[Metric::gauge(
    "couplet_certificate_expires_timestamp_seconds",
    "seconds since 1970",
)
.by(&[Label::given(
    "domain",
    "a domain with a certificate of its own, `default`, or for links `edge.couplet` and \
     `origin.couplet`",
)])
.says(
    "When a certificate ends, for clients or for links; not there without one.",
    "Less than 21 days ahead: renew it, then SIGHUP.",
)];

/// What the kernel says of the process. The names are those every Prometheus client uses.
pub(super) const PROCESS: &[Metric] = &[
    Metric::counter("process_cpu_seconds_total", "seconds").says(
        "Processor time, user and system.",
        "Its rate is how many cores are busy; near the limit everything becomes slow.",
    ),
    Metric::gauge("process_resident_memory_bytes", "bytes").says(
        "Memory in RAM.",
        "Above 85 % of couplet_memory_limit_bytes: add nodes, or find what grows.",
    ),
    Metric::gauge("couplet_memory_limit_bytes", "bytes").says(
        "How much memory the process may use: what its control group may, or all of the machine.",
        "See process_resident_memory_bytes.",
    ),
    Metric::gauge("process_virtual_memory_bytes", "bytes").says(
        "Memory reserved.",
        "Says little: the allocator reserves more than it uses.",
    ),
    Metric::gauge("process_threads", "threads")
        .says("Threads.", "Constant but for password and file work."),
    Metric::gauge("process_open_fds", "files").says(
        "Open files and sockets.",
        "Above 80 % of process_max_fds: raise the limit (`LimitNOFILE`, `ulimit -n`).",
    ),
    Metric::gauge("process_max_fds", "files").says(
        "How many files and sockets may be open.",
        "Must be more than `limits.connections`.",
    ),
    Metric::gauge("process_start_time_seconds", "seconds since 1970")
        .says("When the process started.", "A change is a restart."),
];

/// Metrics that belong together.
pub(super) struct Part {
    pub(super) title: &'static str,
    /// On which nodes they are.
    pub(super) roles: &'static [Role],
    pub(super) metrics: &'static [Metric],
    /// Whether all series stand there from the start; if not, their owner makes those it needs.
    pub(super) starts_at_zero: bool,
}

const ALL: &[Role] = &[Role::Serve, Role::Edge, Role::Origin];
const EDGES: &[Role] = &[Role::Serve, Role::Edge];
const ORIGINS: &[Role] = &[Role::Serve, Role::Origin];
const NODES: &[Role] = &[Role::Edge, Role::Origin];

/// Everything there is, in the order of the page.
pub(super) const PARTS: &[Part] = &[
    part("Every node", ALL, TABLE),
    // Read anew whenever somebody asks.
    made_elsewhere("The process", ALL, PROCESS),
    part("Edges", EDGES, couplet_edge::metrics::TABLE),
    part("Certificates", ALL, CERTIFICATES),
    part("Origins", ORIGINS, couplet_origin::metrics::TABLE),
    part("Slots", &[Role::Origin], couplet_origin::metrics::CLUSTER),
    // An edge has no links to edges.
    made_elsewhere("Links between nodes", NODES, couplet_link::metrics::TABLE),
    part("The store", ORIGINS, couplet_origin::metrics::STORE),
    part("Redis", &[Role::Origin], couplet_origin::metrics::REDIS),
    part(
        "The embedded store",
        &[Role::Serve],
        couplet_origin::metrics::EMBEDDED,
    ),
];

const fn part(title: &'static str, roles: &'static [Role], metrics: &'static [Metric]) -> Part {
    Part {
        title,
        roles,
        metrics,
        starts_at_zero: true,
    }
}

const fn made_elsewhere(
    title: &'static str,
    roles: &'static [Role],
    metrics: &'static [Metric],
) -> Part {
    Part {
        starts_at_zero: false,
        ..part(title, roles, metrics)
    }
}
