//! In which order tasks are best begun, and how long they take on so many workers.

/// Seconds until the last of `costs` is done on `workers` that each take the next one when they are free.
pub fn makespan(costs: impl IntoIterator<Item = f64>, workers: usize) -> f64 {
    let mut free = vec![0.0f64; workers.max(1)];
    for cost in costs {
        if let Some(first) = free.iter_mut().min_by(|a, b| a.total_cmp(b)) {
            *first += cost;
        }
    }
    free.into_iter().fold(0.0, f64::max)
}

/// The positions of `costs` in the order in which they are best begun: as they stand while each is about like its
/// neighbours, but no long one last. So a film becomes playable from its beginning, and no worker is left alone at the
/// end with the longest.
///
/// A task is moved only where it costs a quarter more than the usual (the median): those go first, the costliest before
/// the others (Graham's rule of the longest processing time, 1969, for what matters of it).
pub fn longest_first(costs: &[f64]) -> Vec<usize> {
    let mut sorted = costs.to_vec();
    sorted.sort_by(f64::total_cmp);
    let usual = sorted.get(sorted.len() / 2).copied().unwrap_or(0.0);
    let long = |position: &usize| costs.get(*position).is_some_and(|cost| *cost > usual * 1.25);
    let (mut first, rest): (Vec<usize>, Vec<usize>) = (0..costs.len()).partition(long);
    first.sort_by(|a, b| costs[*b].total_cmp(&costs[*a]));
    first.extend(rest);
    first
}
