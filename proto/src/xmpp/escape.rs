//! Writing text and attribute values so that every parser reads the same characters back.

use bytes::{BufMut, BytesMut};

/// Somewhere XML is written to.
pub trait Sink {
    /// Appends `text` as it is.
    fn put(&mut self, text: &str);
}

impl Sink for BytesMut {
    fn put(&mut self, text: &str) {
        self.put_slice(text.as_bytes());
    }
}

impl Sink for Vec<u8> {
    fn put(&mut self, text: &str) {
        self.extend_from_slice(text.as_bytes());
    }
}

impl Sink for String {
    fn put(&mut self, text: &str) {
        self.push_str(text);
    }
}

/// Writes character data: `<`, `>` and `&` escaped; CR too, which a parser would turn into LF.
pub fn text(out: &mut impl Sink, text: &str) {
    write(out, text, |byte| match byte {
        b'<' => Some("&lt;"),
        b'>' => Some("&gt;"),
        b'&' => Some("&amp;"),
        b'\r' => Some("&#13;"),
        _ => None,
    });
}

/// Writes the value of an attribute in single quotes, the quotes not included.
///
/// TAB, LF and CR are escaped too: a parser would turn them into spaces.
pub fn attribute(out: &mut impl Sink, value: &str) {
    write(out, value, |byte| match byte {
        b'<' => Some("&lt;"),
        b'>' => Some("&gt;"),
        b'&' => Some("&amp;"),
        b'\'' => Some("&apos;"),
        b'"' => Some("&quot;"),
        b'\t' => Some("&#9;"),
        b'\n' => Some("&#10;"),
        b'\r' => Some("&#13;"),
        _ => None,
    });
}

/// Writes ` name='value'`.
pub fn named_attribute(out: &mut impl Sink, name: &str, value: &str) {
    out.put(" ");
    out.put(name);
    out.put("='");
    attribute(out, value);
    out.put("'");
}

fn write(out: &mut impl Sink, text: &str, replace: impl Fn(u8) -> Option<&'static str>) {
    let mut written = 0;
    for (at, byte) in text.bytes().enumerate() {
        if let Some(replacement) = replace(byte) {
            out.put(&text[written..at]);
            out.put(replacement);
            written = at + 1;
        }
    }
    out.put(&text[written..]);
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nothing_can_break_out() {
        let mut out = String::new();
        text(&mut out, "a<b>&]]>\r\n'\"");
        assert_eq!(out, "a&lt;b&gt;&amp;]]&gt;&#13;\n'\"");
        out.clear();
        named_attribute(&mut out, "id", "a'b\"<\t\r\n&>");
        assert_eq!(out, " id='a&apos;b&quot;&lt;&#9;&#13;&#10;&amp;&gt;'");
    }
}
