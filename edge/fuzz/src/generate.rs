//! Elements in every spelling, and mutations of them, from a seed.

/// A small generator of numbers: the same seed, the same inputs, on every machine.
#[derive(Debug, Clone)]
pub struct Random(u64);

const NAMES: &[&str] = &[
    "message", "presence", "iq", "body", "x", "stream", "a-b.c", "é", "_",
];
const NAMESPACES: &[&str] = &[
    "jabber:client",
    "jabber:server",
    "http://etherx.jabber.org/streams",
    "urn:h",
    "urn:x?a=1&amp;b=2",
    "urn:'",
    "u",
    "",
];
const TEXTS: &[&str] = &[
    "hello",
    " ",
    "\n",
    "\r\n",
    "\r",
    "\t",
    "&lt;",
    "&gt;",
    ">",
    "&amp;",
    "&quot;",
    "&apos;",
    "&#10;",
    "&#13;",
    "&#9;",
    "&#x1F600;",
    "é",
    "中",
    "😀",
    "]]",
    "]",
    "/>",
    "--",
    "juliet@x/y",
    "get",
    "set",
    "result",
    "chat",
    "a'b",
    "\u{85}",
    "\u{2028}",
    "\u{FFFD}",
    "",
];
/// What mutations insert: everything that could end something, or mean two things.
const TOKENS: &[&str] = &[
    "<",
    ">",
    "/>",
    "</",
    "=",
    "'",
    "\"",
    "&",
    ";",
    "&#",
    "&#x",
    "&lol;",
    "&#0;",
    "&#xFFFE;",
    "&#x110000;",
    "]]>",
    "<![CDATA[",
    "<!--",
    "-->",
    "<?x ?>",
    "<!DOCTYPE x>",
    "\0",
    "\u{b}",
    "\u{c}",
    "\u{FFFE}",
    " ",
    "\n",
    "xmlns=''",
    " xmlns='u'",
    " xmlns:p='u'",
    " xmlns:p=''",
    " xmlns:q='u' p:a='1' q:a='2'",
    "p:",
    ":",
    " a='1'",
    " a='1'",
    "xml:",
    "xmlns:",
    "<stream:stream>",
    "</stream:stream>",
    "<message>",
    "</message>",
    "<iq type='get' id='1'>",
    "</iq>",
    "<a/>",
    "\u{d7}",
    "\u{2c00}",
    "&lt;",
    "<h:x h:a='1'/>",
    "1",
    "-",
    "|",
];

// === impl Random ===

impl Random {
    /// Begins a sequence.
    pub fn new(seed: u64) -> Self {
        Self(seed.wrapping_mul(0x9E37_79B9_7F4A_7C15) | 1)
    }

    fn next(&mut self) -> u64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        self.0.wrapping_mul(0x2545_F491_4F6C_DD1D) >> 16
    }

    fn below(&mut self, bound: usize) -> usize {
        usize::try_from(self.next() % bound.max(1) as u64).expect("below a usize")
    }

    fn chance(&mut self, of: usize) -> bool {
        self.below(of) == 0
    }

    fn pick<'a>(&mut self, from: &[&'a str]) -> &'a str {
        from[self.below(from.len())]
    }

    /// One input: some elements, often mutated.
    pub fn input(&mut self) -> Vec<u8> {
        let mut xml = String::new();
        for _ in 0..=self.below(2) {
            self.top(&mut xml);
            if self.chance(3) {
                xml.push_str(self.pick(&[" ", "\n", "\r\n\t"]));
            }
        }
        if self.chance(8) {
            xml.push_str("</stream:stream>");
        }
        let mut bytes = xml.into_bytes();
        for _ in 0..self.below(4) {
            self.mutate(&mut bytes);
        }
        bytes
    }

    fn top(&mut self, out: &mut String) {
        match self.below(4) {
            0 => self.element(0, out),
            1 => out.push_str("<iq type='get' id='1'><query xmlns='urn:q'/></iq>"),
            _ => {
                let name = self.pick(&["message", "presence", "iq"]);
                let (prefix, declaration) = match self.chance(4) {
                    true => ("c:", " xmlns:c='jabber:client'"),
                    false => ("", ""),
                };
                let head = ["", " id='1'", " to='Juliet@Example.com/r'", " type='error'"];
                out.push_str(&format!("<{prefix}{name}{declaration}{}", self.pick(&head)));
                if self.chance(4) {
                    out.push_str(self.pick(&[" xml:lang='en'", " h:a='1'", " odd='&lt;'"]));
                }
                out.push('>');
                for _ in 0..self.below(4) {
                    self.content(1, out);
                }
                out.push_str(&format!("</{prefix}{name}>"));
            }
        }
    }

    fn element(&mut self, depth: usize, out: &mut String) {
        let name = self.pick(NAMES);
        let prefix = self.pick(&["", "", "", "p:", "q:", "h:", "stream:"]);
        out.push_str(&format!("<{prefix}{name}"));
        let quote = self.pick(&["'", "\""]);
        for declared in ["", ":p", ":q"] {
            let is_needed = declared.strip_prefix(':') == prefix.strip_suffix(':');
            if (is_needed && !declared.is_empty()) || self.chance(4) {
                let ns = match declared {
                    "" => self.pick(NAMESPACES),
                    _ => self.pick(&NAMESPACES[..NAMESPACES.len() - 1]),
                };
                let ns = ns.replace('\'', "&#39;");
                out.push_str(&format!(" xmlns{declared}={quote}{ns}{quote}"));
            }
        }
        for attribute in [
            "a", "b", "id", "xml:lang", "xml:id", "h:a", "h:b", "stream:a",
        ] {
            if self.chance(6) {
                let space = self.pick(&[" ", "\n", "\t "]);
                let equals = self.pick(&["=", " = "]);
                out.push_str(&format!("{space}{attribute}{equals}{quote}"));
                for _ in 0..self.below(3) {
                    let text = self.pick(TEXTS).replace('\'', "&apos;");
                    out.push_str(&text);
                }
                out.push_str(quote);
            }
        }
        if self.chance(3) {
            out.push_str(self.pick(&["/>", " />"]));
            return;
        }
        out.push('>');
        if depth < 4 {
            for _ in 0..self.below(3) {
                self.content(depth + 1, out);
            }
        }
        out.push_str(&format!("</{prefix}{name}{}>", self.pick(&["", "", " "])));
    }

    fn content(&mut self, depth: usize, out: &mut String) {
        match self.below(4) {
            0 | 1 => self.element(depth, out),
            2 => out.push_str(self.pick(TEXTS)),
            _ => {
                out.push_str("<![CDATA[");
                out.push_str(self.pick(&[
                    "",
                    "<a>",
                    "&amp;",
                    "]",
                    "]]",
                    "\r\n",
                    "</message>",
                    ">",
                ]));
                out.push_str("]]>");
            }
        }
    }

    fn mutate(&mut self, bytes: &mut Vec<u8>) {
        let at = self.below(bytes.len() + 1);
        let length = self.below(8).min(bytes.len() - at);
        match self.below(6) {
            0 => {
                bytes.drain(at..at + length);
            }
            1 => {
                let part = bytes[at..at + length].to_vec();
                let to = self.below(bytes.len() + 1);
                bytes.splice(to..to, part);
            }
            2 if at < bytes.len() => {
                let bit = self.below(8);
                bytes[at] ^= 1 << bit;
            }
            3 => bytes.truncate(at),
            _ => {
                let token = self.pick(TOKENS);
                bytes.splice(at..at, token.bytes());
            }
        }
    }
}
