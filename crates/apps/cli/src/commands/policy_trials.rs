//! Policies tried out before they apply: on the requests of the past.

use std::collections::BTreeMap;
use std::path::PathBuf;

use clap::Args;
use keyreeve_wire::policies::{ChangedDecision, Decision, SimulatePolicies, SimulatedPolicies};

use super::policy_sets;
use crate::app::{App, Outcome};
use crate::failure::Exit;
use crate::out::{facts, printable, rows};
use crate::progress::Progress;

/// Records looked at in one request.
const PAGE: u32 = 20_000;

/// Show which decisions of the past days the policies of a directory would have changed
///
/// Requests are taken from the audit log, with the attributes that principals and keys have now; nothing is changed.
/// Ends with 1 where a decision would be another.
#[derive(Args)]
#[command(after_help = "Example:\n  $ keyreeve policy simulate policies/ --days 30")]
pub(crate) struct Simulate {
    /// The directory
    #[arg(value_name = "DIR")]
    directory: PathBuf,
    /// How many days back
    #[arg(long, value_name = "N", default_value_t = 30, value_parser = clap::value_parser!(u32).range(1..=90))]
    days: u32,
    /// As if policies that the directory does not have were removed
    #[arg(long)]
    delete_others: bool,
}

impl Simulate {
    pub(super) async fn run(self, app: &App) -> Outcome {
        let client = app.client()?;
        let mut request = SimulatePolicies {
            policies: policy_sets::read(&self.directory)?,
            delete_others: self.delete_others,
            days: self.days,
            before: None,
            limit: Some(PAGE),
        };
        let progress = Progress::waiting(app.out, "going through the log");
        let mut total = SimulatedPolicies::default();
        loop {
            let page = client.simulate_policies(&request).await?.value;
            request.before = page.next;
            add(&mut total, page);
            progress.tell(&format!("{} records", total.records));
            if request.before.is_none() {
                break;
            }
        }
        progress.finish();
        app.out.show(&total, summary)?;
        Ok(if total.changed == 0 { Exit::Done } else { Exit::No })
    }
}

/// What makes requests alike.
type Alike = (String, String, String, String, Decision, Decision);

fn alike(group: &ChangedDecision) -> Alike {
    let ChangedDecision { principal, action, kind, resource, was, would, .. } = group.clone();
    (principal, action, kind, resource, was, would)
}

/// Adds a page, which is older than what there is.
fn add(total: &mut SimulatedPolicies, page: SimulatedPolicies) {
    total.records += page.records;
    total.decided += page.decided;
    total.changed += page.changed;
    total.differ_from_record += page.differ_from_record;
    total.ungrouped += page.ungrouped;
    total.oldest = page.oldest.or(total.oldest.take());
    for (reason, count) in page.not_rebuilt {
        *total.not_rebuilt.entry(reason).or_insert(0) += count;
    }
    let mut known: BTreeMap<Alike, usize> =
        total.groups.iter().enumerate().map(|(place, group)| (alike(group), place)).collect();
    for group in page.groups {
        match known.get(&alike(&group)) {
            Some(&place) => {
                total.groups[place].count += group.count;
                total.groups[place].first = group.first;
            }
            None => {
                known.insert(alike(&group), total.groups.len());
                total.groups.push(group);
            }
        }
    }
}

fn summary(total: &SimulatedPolicies) -> String {
    let mut text = facts(&[
        ("records", total.records.to_string()),
        ("since", total.oldest.as_ref().map_or_else(String::new, ToString::to_string)),
        ("decided", total.decided.to_string()),
        ("changed", total.changed.to_string()),
        ("not as on record", total.differ_from_record.to_string()),
    ]);
    for (reason, count) in &total.not_rebuilt {
        text.push_str(&format!("\nnot decided: {count} ({})", printable(reason)));
    }
    if !total.groups.is_empty() {
        let headings = ["principal", "action", "on", "was", "would be", "times", "last record"];
        text.push_str(&format!("\n\n{}", rows(headings, total.groups.iter().map(row))));
    }
    if total.ungrouped > 0 {
        text.push_str(&format!("\n({} more changed decisions are not listed)", total.ungrouped));
    }
    text
}

fn row(group: &ChangedDecision) -> [String; 7] {
    let verdict = |verdict: &Decision| {
        let word = if verdict.allowed { "allowed" } else { "refused" };
        let by = if verdict.policies.is_empty() { "no policy".to_owned() } else { verdict.policies.join(", ") };
        format!("{word} ({by})")
    };
    [
        group.principal.clone(),
        group.action.clone(),
        group.resource.clone(),
        verdict(&group.was),
        verdict(&group.would),
        group.count.to_string(),
        group.last.clone(),
    ]
}

#[cfg(test)]
mod tests {
    use super::*;

    fn page(count: u64, first: &str, last: &str) -> SimulatedPolicies {
        let verdict = |allowed| Decision { allowed, policies: vec!["a".to_owned()] };
        let group = ChangedDecision {
            principal: "pat".to_owned(),
            action: "key.sign".to_owned(),
            kind: "Key".to_owned(),
            resource: "k".to_owned(),
            was: verdict(true),
            would: verdict(false),
            count,
            first: first.to_owned(),
            last: last.to_owned(),
        };
        SimulatedPolicies { records: count, changed: count, groups: vec![group], ..SimulatedPolicies::default() }
    }

    #[test]
    fn pages_add_up_to_one_account() {
        let mut total = SimulatedPolicies::default();
        for (count, first, last) in [(2, "aud_8", "aud_9"), (3, "aud_3", "aud_7"), (1, "aud_1", "aud_1")] {
            add(&mut total, page(count, first, last));
        }
        let [group] = &total.groups[..] else { panic!("{:?}", total.groups) };
        assert_eq!((total.records, total.changed, group.count), (6, 6, 6));
        assert_eq!((group.first.as_str(), group.last.as_str()), ("aud_1", "aud_9"));
        let text = summary(&total);
        assert!(text.contains("allowed (a)") && text.contains("refused (a)") && text.contains("aud_9"), "{text}");
    }
}
