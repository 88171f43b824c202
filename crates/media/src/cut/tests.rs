use pipeline::plan::FrameTimes;
use proptest::prelude::*;

use super::*;

fn a_chunk(times: &[i64], keyframes: &[u32], segments: &[u32]) -> Chunk {
    Chunk {
        number: 3,
        first_segment: 3,
        start_us: 0,
        end_us: None,
        seek_us: None,
        times: FrameTimes::new(times).unwrap(),
        keyframes: keyframes.to_vec(),
        segments: segments.to_vec(),
        ranges: Vec::new(),
    }
}

/// Fragments as an encoder with one reordered picture writes them: I, P, b, P, b, …
fn made(times: &[i64], keyframes: &[u32]) -> Vec<Fragment> {
    let mut bounds: Vec<usize> = keyframes.iter().map(|index| *index as usize).collect();
    bounds.push(times.len());
    let group = |(number, bound): (usize, &[usize])| {
        let mut order: Vec<usize> = (bound[0]..bound[1]).collect();
        for pair in order[1..].chunks_exact_mut(2) {
            pair.swap(0, 1);
        }
        let sample = |index: usize| Sample { dts: 0, pts: times[index], duration: 10, size: 10, sync: index == bound[0] };
        let start = number as u64 * 1000;
        let samples: Vec<Sample> = order.into_iter().map(sample).collect();
        Fragment { range: start..start + 1000, media: start + 1000 - samples.len() as u64 * 10..start + 1000, samples }
    };
    bounds.windows(2).enumerate().map(group).collect()
}

const TIMES: [i64; 10] = [100, 110, 120, 135, 140, 150, 160, 170, 180, 190];

#[test]
fn what_is_as_planned_is_cut_at_its_segments() {
    let cuts = held(&a_chunk(&TIMES, &[0, 4, 8], &[0, 8]), 1, &made(&TIMES, &[0, 4, 8])).unwrap();
    let shape = |cut: &Cut| (cut.range.clone(), cut.start, cut.duration, cut.frames);
    assert_eq!(cuts.iter().map(shape).collect::<Vec<_>>(), [(0..2000, 100, 80, 8), (2000..3000, 180, 20, 2)]);
    let table = cuts[0].samples.unpack().unwrap();
    assert_eq!(table.order, [0, 2, 1, 3, 4, 6, 5, 7], "places of pictures in display order, by their order in decoding");
    assert_eq!((table.sync, table.sizes), (vec![0, 4], vec![10; 8]));
    let media: Vec<(u64, u64, u32)> = table.fragments.iter().map(|f| (f.media.start, f.media.end, f.samples)).collect();
    assert_eq!(media, [(960, 1000, 4), (1960, 2000, 4)]);
    assert_eq!(cuts[1].samples.unpack().unwrap().fragments[0].media, (980, 1000).into(), "from the segment's own start");
}

#[test]
fn a_time_base_with_a_numerator_counts_in_its_own_ticks() {
    let out: Vec<i64> = TIMES.iter().map(|time| time * 1001).collect();
    let mut fragments = made(&out, &[0, 4]);
    fragments.iter_mut().flat_map(|fragment| &mut fragment.samples).for_each(|sample| sample.duration *= 1001);
    let cuts = held(&a_chunk(&TIMES, &[0, 4], &[0]), 1001, &fragments).unwrap();
    let [cut] = &cuts[..] else { panic!("{cuts:?}") };
    assert_eq!((cut.range.clone(), cut.start, cut.duration, cut.frames), (0..2000, 100, 100, 10));
}

#[test]
fn a_lost_frame_is_named() {
    let mut short = TIMES.to_vec();
    short.remove(3);
    let text = held(&a_chunk(&TIMES, &[0], &[0]), 1, &made(&short, &[0])).unwrap_err();
    assert_eq!(text, "decoder gave 9 of 10 frames; first difference at frame 3: planned time 135, got 140");
}

#[test]
fn a_frame_too_many_at_the_end_is_named() {
    let text = held(&a_chunk(&TIMES[..9], &[0], &[0]), 1, &made(&TIMES, &[0])).unwrap_err();
    assert_eq!(text, "decoder gave 10 of 9 frames; first difference at frame 9: planned time none, got 190");
}

#[test]
fn a_keyframe_elsewhere_is_named() {
    let text = held(&a_chunk(&TIMES, &[0, 4], &[0]), 1, &made(&TIMES, &[0, 5])).unwrap_err();
    assert_eq!(text, "keyframes differ from the plan: keyframe 1 should be frame 4, is frame 5");
    let text = held(&a_chunk(&TIMES, &[0], &[0]), 1, &made(&TIMES, &[0, 5])).unwrap_err();
    assert_eq!(text, "keyframes differ from the plan: keyframe 1 should be none, is frame 5");
}

#[test]
fn a_segment_needs_a_fragment_of_its_own() {
    let text = held(&a_chunk(&TIMES, &[0, 4], &[0, 5]), 1, &made(&TIMES, &[0, 4])).unwrap_err();
    assert!(text.contains("no fragment begins at frame 5"), "{text}");
}

#[test]
fn an_open_group_is_found_out() {
    let mut fragments = made(&TIMES, &[0, 4]);
    // A picture shown before the second keyframe, coded after it.
    let moved = fragments[0].samples.pop().unwrap();
    fragments[1].samples.insert(1, moved);
    let text = held(&a_chunk(&TIMES, &[0, 4], &[0]), 1, &fragments).unwrap_err();
    assert!(text.contains("fragment 1 does not begin"), "{text}");
}

proptest! {
    /// Whatever the times and cuts: segments touch, cover all frames, and all bytes.
    #[test]
    fn segments_cover_the_chunk(steps in prop::collection::vec(1i64..50, 1..80), marks in prop::collection::btree_set(1u32..80, 0..6), every in 1usize..4) {
        let times: Vec<i64> = steps.iter().scan(0, |at, step| { *at += step; Some(*at) }).collect();
        let count = u32::try_from(times.len()).unwrap();
        let keyframes: Vec<u32> = std::iter::once(0).chain(marks.into_iter().filter(|mark| *mark < count)).collect();
        let segments: Vec<u32> = keyframes.iter().copied().step_by(every).collect();
        let cuts = held(&a_chunk(&times, &keyframes, &segments), 1, &made(&times, &keyframes)).unwrap();
        prop_assert_eq!(cuts.len(), segments.len());
        prop_assert_eq!(cuts.iter().map(|cut| cut.frames).sum::<u32>(), count);
        for pair in cuts.windows(2) {
            prop_assert_eq!(pair[0].start + pair[0].duration, pair[1].start);
            prop_assert_eq!(pair[0].range.end, pair[1].range.start);
        }
    }
}
