//! Languages: containers write three letters of ISO 639-2, or words of their own; playlists and manifests want the tags
//! of BCP 47 (RFC 5646), in which a language that has two letters is written with them.

/// Languages of ISO 639-1: two letters, the three of ISO 639-2 (terminological), and behind a slash those that
/// bibliographers use where they are others.
const LANGUAGES: &str = "\
    aaaar ababk aeave afafr akaka amamh anarg arara asasm avava ayaym azaze babak bebel bgbul bibis bmbam bnben bobod/tib \
    brbre bsbos cacat ceche chcha cocos crcre csces/cze cuchu cvchv cycym/wel dadan dedeu/ger dvdiv dzdzo eeewe elell/gre \
    eneng eoepo esspa etest eueus/baq fafas/per ffful fifin fjfij fofao frfra/fre fyfry gagle gdgla glglg gngrn guguj \
    gvglv hahau heheb hihin hohmo hrhrv hthat huhun hyhye/arm hzher iaina idind ieile igibo iiiii ikipk ioido isisl/ice \
    itita iuiku jajpn jvjav kakat/geo kgkon kikik kjkua kkkaz klkal kmkhm knkan kokor krkau kskas kukur kvkom kwcor kykir \
    lalat lbltz lglug lilim lnlin lolao ltlit lulub lvlav mgmlg mhmah mimri/mao mkmkd/mac mlmal mnmon mrmar msmsa/may \
    mtmlt mymya/bur nanau nbnob ndnde nenep ngndo nlnld/dut nnnno nonor nrnbl nvnav nynya ococi ojoji omorm orori ososs \
    papan pipli plpol pspus ptpor quque rmroh rnrun roron/rum rurus rwkin sasan scsrd sdsnd sesme sgsag sisin \
    skslk/slo slslv smsmo snsna sosom sqsqi/alb srsrp ssssw stsot susun svswe swswa tatam tetel tgtgk ththa titir tktuk \
    tltgl tntsn toton trtur tstso tttat twtwi tytah uguig ukukr ururd uzuzb veven vivie vovol wawln wowol xhxho yiyid \
    yoyor zazha zhzho/chi zuzul";
/// Longest tag that is taken.
const MAX_TAG: usize = 35;

fn rows() -> impl Iterator<Item = (&'static str, &'static str, &'static str)> {
    LANGUAGES.split_ascii_whitespace().filter_map(|row| {
        let (own, bibliographic) = row.split_once('/').unwrap_or((row, ""));
        let (two, three) = own.split_at_checked(2)?;
        Some((two, three, bibliographic))
    })
}

/// A source's word for a language as a tag of BCP 47 (`eng` becomes `en`, `ger` `de`, `pt_BR` `pt-BR`); `None` where it
/// is no tag, or says that the language is not known (`und`). What comes out holds letters, digits and hyphens only.
pub fn tag(text: &str) -> Option<String> {
    if text.is_empty() || text.len() > MAX_TAG {
        return None;
    }
    let text = text.replace('_', "-");
    let (primary, rest) = text.split_once('-').map_or((text.as_str(), None), |(primary, rest)| (primary, Some(rest)));
    let primary = primary.to_ascii_lowercase();
    // RFC 5646, 2.1: a language has two or three letters (longer ones were never registered), a subtag one to eight signs.
    let is_language = (2..=3).contains(&primary.len()) && primary.bytes().all(|b| b.is_ascii_alphabetic());
    let is_subtag = |part: &str| (1..=8).contains(&part.len()) && part.bytes().all(|b| b.is_ascii_alphanumeric());
    if !is_language || primary == "und" || !rest.is_none_or(|rest| rest.split('-').all(is_subtag)) {
        return None;
    }
    let shortest = rows().find(|(_, three, bibliographic)| *three == primary || *bibliographic == primary);
    let primary = shortest.map_or(primary.as_str(), |(two, _, _)| two);
    Some(rest.map_or_else(|| primary.to_owned(), |rest| format!("{primary}-{rest}")))
}

/// The three letters that MP4 holds (ISO/IEC 14496-12, 8.4.2.3: ISO 639-2/T); `und` where they are not known.
pub fn three_letters(text: &str) -> String {
    let Some(tag) = tag(text) else { return "und".to_owned() };
    let primary = tag.split('-').next().unwrap_or_default();
    let known = rows().find(|(two, _, _)| *two == primary).map(|(_, three, _)| three);
    known.or(Some(primary).filter(|primary| primary.len() == 3)).unwrap_or("und").to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn three_letters_become_two_where_there_are_two() {
        for (text, wanted) in [
            ("eng", "en"),
            ("ENG", "en"),
            ("ger", "de"),
            ("deu", "de"),
            ("chi", "zh"),
            ("gsw", "gsw"),
            ("en-US", "en-US"),
            ("pt_BR", "pt-BR"),
            ("zho-Hant-TW", "zh-Hant-TW"),
            ("mul", "mul"),
            ("qaa", "qaa"),
        ] {
            assert_eq!(tag(text).as_deref(), Some(wanted), "{text}");
        }
        for text in ["", "und", "english", "e", "en\"", "de\n#EXT", "en-", "en--US", "en-toolongsubtag", "\u{e9}n"] {
            assert_eq!(tag(text), None, "{text}");
        }
    }

    #[test]
    fn mp4_gets_the_letters_of_iso_639_2() {
        let told: Vec<String> = ["en", "ger", "deu", "pt-BR", "gsw", "xx", "", "english"].map(three_letters).into();
        assert_eq!(told, ["eng", "deu", "deu", "por", "gsw", "und", "und", "und"]);
    }

    #[test]
    fn every_language_stands_once() {
        let rows: Vec<_> = rows().collect();
        assert_eq!((rows.len(), rows.iter().filter(|row| !row.2.is_empty()).count()), (183, 20));
        let mut twos: Vec<_> = rows.iter().map(|row| row.0).collect();
        twos.dedup();
        assert_eq!(twos.len(), rows.len());
        assert!(twos.is_sorted() && rows.iter().all(|row| row.1.len() == 3 && [0, 3].contains(&row.2.len())));
    }

    proptest! {
        #[test]
        fn nothing_else_comes_out_than_tags(text in "[a-zA-Z_-]{0,8}.{0,6}") {
            if let Some(tag) = tag(&text) {
                prop_assert!(tag.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'-'));
                prop_assert_eq!(super::tag(&tag), Some(tag));
            }
            prop_assert_eq!(three_letters(&text).len(), 3);
        }
    }
}
