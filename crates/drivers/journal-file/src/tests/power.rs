//! Power cuts at any moment: nothing acknowledged is lost, and what is left opens.

use futures::StreamExt;
use futures::stream::FuturesUnordered;
use proptest::prelude::*;
use std::collections::BTreeMap;
use std::io::ErrorKind;
use std::sync::Arc;
use tokio::runtime::Builder;

use keyreeve_journal::Journal;
use keyreeve_journal::conformance::signers;

use super::{ORIGIN, check, entries, open};
use crate::simulated::{Effect, Random, SimDisk};

/// Appends from several callers until `enough` calls were answered; adds the acknowledged ones and returns the power
/// cut at that moment, with other calls still under way.
async fn until_the_cut(disk: &SimDisk, seed: u64, acknowledged: &mut BTreeMap<u64, u64>, next: &mut u64) -> SimDisk {
    let journal = Arc::new(open(disk).unwrap());
    journal.set_signers(signers(ORIGIN).0).unwrap();
    let mut random = Random(seed | 1);
    let mut calls = FuturesUnordered::new();
    for call in 0..20 + random.below(40) {
        let numbers = *next..*next + 1 + random.below(40) as u64;
        *next = numbers.end;
        let (journal, flush) = (journal.clone(), call % 7 == 3);
        calls.push(tokio::spawn(async move {
            if flush {
                // May fail with the disk; what matters is that it happens at some time.
                let _ = journal.flush().await;
            }
            (journal.append(entries(numbers.clone())).await, numbers)
        }));
    }
    for _ in 0..random.below(calls.len()) {
        let Some(Ok((result, numbers))) = calls.next().await else { break };
        if let Ok(receipt) = result {
            acknowledged.extend((receipt.first_index..).zip(numbers));
        }
    }
    disk.after_power_cut(random.below(usize::MAX >> 33) as u64)
}

fn on_two_threads<T>(work: impl Future<Output = T>) -> T {
    Builder::new_multi_thread().worker_threads(2).build().unwrap().block_on(work)
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(40))]

    #[test]
    fn acknowledged_entries_survive_power_cuts(seed: u64, rounds in 1usize..5) {
        on_two_threads(async {
            let (mut disk, mut acknowledged, mut next) = (SimDisk::default(), BTreeMap::new(), 0);
            for round in 0..rounds {
                let seed = seed.rotate_left(round as u32 * 7);
                disk = until_the_cut(&disk, seed, &mut acknowledged, &mut next).await;
                if round % 2 == 1 {
                    check(&disk, &acknowledged).await;
                }
            }
            check(&disk, &acknowledged).await;
        });
    }

    #[test]
    fn acknowledged_entries_survive_a_failing_disk_and_power_cuts(seed: u64, rounds in 1usize..5, rate in 2usize..30) {
        on_two_threads(async {
            let (mut disk, mut acknowledged, mut next) = (SimDisk::default(), BTreeMap::new(), 0);
            drop(open(&disk).unwrap());
            for round in 0..rounds {
                let seed = seed.rotate_left(round as u32 * 7);
                let mut random = Random(seed.wrapping_mul(31) | 1);
                // Opening works; then one operation in `rate` fails, in one of the ways disks fail.
                let mut sound = 40;
                disk.fail(move |_, _| {
                    if sound > 0 || random.below(rate) > 0 {
                        sound = usize::saturating_sub(sound, 1);
                        return None;
                    }
                    let kinds = [ErrorKind::StorageFull, ErrorKind::ReadOnlyFilesystem, ErrorKind::Other];
                    let effects = [Effect::Nothing, Effect::Part, Effect::All];
                    Some((kinds[random.below(3)], effects[random.below(3)]))
                });
                disk = until_the_cut(&disk, seed, &mut acknowledged, &mut next).await;
            }
            check(&disk, &acknowledged).await;
        });
    }
}
