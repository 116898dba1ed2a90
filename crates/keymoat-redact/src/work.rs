//! Counts, in tests, the bytes that are walked over, which says more of linear time than a clock does.
//!
//! Whatever walks over a part of a line whose length nothing bounds tells it here. Elsewhere that costs nothing.

#[cfg(test)]
thread_local! {
    static PASSED: std::cell::Cell<usize> = const { std::cell::Cell::new(0) };
}

/// So many bytes were walked over.
#[inline]
#[cfg_attr(not(test), expect(clippy::missing_const_for_fn, reason = "it counts in tests"))]
pub(crate) fn passed(bytes: usize) {
    #[cfg(test)]
    PASSED.with(|passed| passed.set(passed.get() + bytes));
    #[cfg(not(test))]
    let _ = bytes;
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::redactor::Redactor;
    use crate::table::{HEADERS, MARKERS, NAMES, PREFIXES};

    /// What costs most when it is repeated: each begins candidates that need a look at what follows or stands before.
    const PIECES: [&str; 78] = [
        "=",
        ":",
        ",",
        "@",
        "%",
        "\\",
        "\"",
        "'",
        "<",
        ">",
        "-",
        "#",
        "&",
        "{",
        "[",
        "(",
        " ",
        "/",
        "\0",
        "\u{200b}",
        "a=",
        "key=",
        "key:",
        "key\":",
        "name=",
        "\"name\":\"api_key\",",
        "\"name\":\"api_key\",\"value\":\"a\",",
        "'api_key', ",
        "api_key=",
        "api_key=&",
        "api_key='",
        "api_key=\"\\",
        "api_key: [\"a\", ",
        "api_key: Some(",
        "api_key=${",
        "password='\\' ",
        "token:",
        "token=a,",
        "--api-key ",
        "--api-key '",
        "-u a:b ",
        " -u '\\' ",
        "//a:b@",
        "//a@",
        "a:b@c,",
        "//a:b@c,d@e,",
        "http:a@",
        "[REDACTED:x]@,",
        "//[REDACTED:x]@,",
        "%25",
        "%3D",
        "key%3D",
        "\\u0061",
        "\\x3d",
        "#075",
        "&#61;",
        "&amp;key=",
        "%5%2%u00\\x5\\u00",
        "eyJ",
        "eyJ.",
        "Bearer ",
        "Basic YTpi ",
        "authorization: Bearer a ",
        "authorization: Digest a=b, ",
        "cookie: a=b; ",
        "set-cookie: a=b; ",
        "sec-websocket-protocol: a, b ",
        "bearer.a/",
        "<key>",
        "<key>api_key</key>",
        "<a:key b=''>",
        "</key>",
        "-----BEGIN PRIVATE KEY-----",
        "-----BEGIN PRIVATE KEY-----\\n",
        "\x1b[0m",
        "k\0e\0y\0=\0",
        "ｋｅｙ＝",
        "api_key=[REDACTED:x]",
    ];

    /// How many bytes are walked over for each byte of a line of so many times `piece`.
    fn walked(piece: &str, length: usize) -> usize {
        let mut line = piece.repeat(length / piece.len());
        line.push('\n');
        let mut redactor = Redactor::default();
        PASSED.with(|passed| passed.set(0));
        redactor.write(line.as_bytes(), &mut std::io::sink()).expect("nothing fails");
        PASSED.with(std::cell::Cell::get) / line.len()
    }

    #[test]
    fn a_longer_line_is_no_more_work_for_each_byte() {
        let names = NAMES.iter().flat_map(|rule| [format!("{}=", rule.name), format!("{}: a ", rule.name)]);
        let headers = HEADERS.iter().map(|(name, _)| format!("{name}: a/"));
        let alone = MARKERS.iter().copied().chain(PREFIXES.iter().map(|rule| rule.prefix)).chain(PIECES);
        let around = |piece: &str| ["", " ", "a,", "/"].map(|behind| format!("{piece}{behind}"));
        for piece in names.chain(headers).chain(alone.flat_map(around)) {
            let (short, long) = (walked(&piece, 2 << 10), walked(&piece, 24 << 10));
            assert!(long <= 2 * short + 16 && long < 100, "{piece:?}: {short}, then {long} bytes for each");
        }
    }
}
