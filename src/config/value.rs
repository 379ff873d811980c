//! Values: from what somebody wrote to what a key holds; says what would be right.

use std::net::{IpAddr, SocketAddr};
use std::ops::RangeInclusive;
use std::path::PathBuf;

use ipnet::IpNet;
use toml::Value;

use super::layer::Given;

/// What is wrong with a value, in words for the operator.
pub(super) type Wrong = String;

// === impl Given ===

impl Given {
    /// A whole number within bounds.
    pub(super) fn number<T: TryFrom<i64>>(&self, bounds: RangeInclusive<i64>) -> Result<T, Wrong> {
        let (min, max) = (*bounds.start(), *bounds.end());
        let wrong = || {
            format!(
                "must be a whole number from {min} to {max}, but is {}",
                self.shown()
            )
        };
        let number = self
            .value
            .as_integer()
            .filter(|number| bounds.contains(number));
        number
            .and_then(|number| T::try_from(number).ok())
            .ok_or_else(wrong)
    }

    /// A part of a whole.
    pub(super) fn fraction(&self) -> Result<f64, Wrong> {
        let number = match &self.value {
            Value::Float(number) => Some(*number),
            Value::Integer(0) => Some(0.0),
            Value::Integer(1) => Some(1.0),
            _ => None,
        };
        let wrong = || format!("must be a number from 0 to 1, but is {}", self.shown());
        number
            .filter(|number| (0.0..=1.0).contains(number))
            .ok_or_else(wrong)
    }

    /// Yes or no.
    pub(super) fn truth(&self) -> Result<bool, Wrong> {
        let wrong = || format!("must be true or false, but is {}", self.shown());
        self.value.as_bool().ok_or_else(wrong)
    }

    /// A text that is not empty.
    pub(super) fn text(&self) -> Result<String, Wrong> {
        // Outside the file nobody quotes: there a node named 7 is a name.
        let text = match (&self.raw, &self.value) {
            (_, Value::String(text)) => text.clone(),
            (Some(raw), Value::Integer(_) | Value::Float(_) | Value::Boolean(_)) => raw.clone(),
            _ => return Err(format!("must be a text in quotes, but is {}", self.shown())),
        };
        if text.trim().is_empty() {
            return Err("must not be empty".to_owned());
        }
        Ok(text)
    }

    /// Whether it is a section without settings.
    pub(super) fn is_empty_table(&self) -> bool {
        self.value.as_table().is_some_and(toml::Table::is_empty)
    }

    /// A path of the file system, relative to the folder the server is started in.
    pub(super) fn path(&self) -> Result<PathBuf, Wrong> {
        self.text().map(PathBuf::from)
    }

    /// A list of texts; outside the file a single one stands for itself.
    pub(super) fn texts(&self) -> Result<Vec<String>, Wrong> {
        if self.raw.is_some() && !self.value.is_array() {
            return Ok(vec![self.text()?]);
        }
        let wrong = || format!("must be a list of texts, but is {}", self.shown());
        let items = self.value.as_array().ok_or_else(wrong)?;
        let texts = items.iter().map(|item| item.as_str().map(str::to_owned));
        texts.collect::<Option<_>>().ok_or_else(wrong)
    }

    /// A list of addresses with ports.
    pub(super) fn addresses(&self) -> Result<Vec<SocketAddr>, Wrong> {
        self.texts()?.iter().map(|text| address(text)).collect()
    }

    /// One address with a port.
    pub(super) fn address(&self) -> Result<SocketAddr, Wrong> {
        address(&self.text()?)
    }

    /// A list of networks, or of addresses, each of which stands for itself.
    pub(super) fn networks(&self) -> Result<Vec<IpNet>, Wrong> {
        self.texts()?.iter().map(|text| network(text)).collect()
    }

    /// The value for a message: short, and without anything that would upset a terminal.
    fn shown(&self) -> String {
        let shown = match &self.value {
            Value::String(text) => format!("the text {text:?}"),
            Value::Table(_) => "a table".to_owned(),
            Value::Array(_) => "a list".to_owned(),
            other => other.to_string(),
        };
        match shown.char_indices().nth(60) {
            Some((end, _)) => format!("{}…", &shown[..end]),
            None => shown,
        }
    }
}

fn address(text: &str) -> Result<SocketAddr, Wrong> {
    text.trim().parse().map_err(|_| {
        format!("{text:?} is not an address with a port such as \"0.0.0.0:5222\" or \"[::]:5222\"")
    })
}

fn network(text: &str) -> Result<IpNet, Wrong> {
    let text = text.trim();
    let one = text.parse::<IpAddr>().ok().map(IpNet::from);
    let network = one.or_else(|| text.parse().ok()).ok_or_else(|| {
        format!(
            "{text:?} is neither a network such as \"10.0.0.0/8\" nor an address of one machine"
        )
    })?;
    if network.trunc() != network {
        let meant = network.trunc();
        return Err(format!(
            "{text:?} is not the beginning of a network; is \"{meant}\" meant?"
        ));
    }
    if network.addr().to_canonical() != network.addr() {
        return Err(format!(
            "{text:?} is an IPv4 network in disguise: write it as one"
        ));
    }
    if network.prefix_len() == 0 {
        return Err(format!(
            "{text:?} is everybody; name the networks of the balancers"
        ));
    }
    Ok(network)
}
