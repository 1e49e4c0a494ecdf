//! What the benchmarks found, as a table in Markdown: ready for docs/performance.md.

/// One target of the project and what was measured.
pub(crate) struct Row {
    pub(crate) what: String,
    pub(crate) figures: String,
    pub(crate) ratio: f64,
    pub(crate) target: Target,
}

/// What a ratio or figure should be.
#[derive(Clone, Copy)]
pub(crate) enum Target {
    AtLeast(f64),
    AtMost(f64),
    /// Nothing in particular: shown to judge another row by.
    Shown,
}

impl Target {
    fn met(self, value: f64) -> &'static str {
        let met = match self {
            Self::AtLeast(least) => value >= least,
            Self::AtMost(most) => value <= most,
            Self::Shown => return "",
        };
        if met { "yes" } else { "**no**" }
    }

    fn text(self) -> String {
        match self {
            Self::AtLeast(least) => format!("≥ {least}"),
            Self::AtMost(most) => format!("≤ {most}"),
            Self::Shown => String::new(),
        }
    }
}

/// Prints the machine and the table.
pub(crate) fn print(rows: &[Row]) {
    println!("\n{}\n", machine());
    println!("| what | measured | value | target | met |\n|---|---|---|---|---|");
    for row in rows {
        let met = row.target.met(row.ratio);
        println!("| {} | {} | {:.2} | {} | {met} |", row.what, row.figures, row.ratio, row.target.text());
    }
}

fn machine() -> String {
    let cpuinfo = std::fs::read_to_string("/proc/cpuinfo").unwrap_or_default();
    let model = cpuinfo
        .lines()
        .find_map(|line| line.strip_prefix("model name"))
        .unwrap_or("")
        .trim_start_matches([' ', '\t', ':']);
    let cores = std::thread::available_parallelism().map_or(0, usize::from);
    let kernel = std::fs::read_to_string("/proc/sys/kernel/osrelease").unwrap_or_default();
    format!("Machine: {cores} cores, {model}, Linux {}; client and server share the cores.", kernel.trim())
}
