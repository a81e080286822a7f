//! What stands in the file, as TOML has it. What it means is decided one module up.

use std::collections::BTreeMap;
use std::path::PathBuf;

use serde::Deserialize;

use super::Protocol;

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Config {
    #[serde(default)]
    pub server: Server,
    #[serde(default)]
    pub listen: Vec<Listen>,
    #[serde(default)]
    pub log: BTreeMap<String, Log>,
    #[serde(default)]
    pub route: Vec<Route>,
}

/// A number of bytes, or text with a unit.
#[derive(Deserialize)]
#[serde(untagged, expecting = "expected a number of bytes, or text such as \"10M\"")]
pub enum Size {
    Bytes(u64),
    Text(String),
}

/// When a record is acknowledged.
#[derive(Deserialize, Clone, Copy, PartialEq)]
#[serde(rename_all = "lowercase")]
pub enum Ack {
    Commit,
    Fsync,
}

#[derive(Deserialize, Default)]
#[serde(deny_unknown_fields)]
pub struct Server {
    pub max_connections: Option<usize>,
    pub max_record_bytes: Option<Size>,
    pub record_timeout: Option<String>,
    pub idle_timeout: Option<String>,
    pub drain: Option<String>,
    pub state_dir: Option<PathBuf>,
    pub ack: Option<Ack>,
    pub metrics: Option<String>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Listen {
    pub address: String,
    pub protocol: Protocol,
    pub mode: Option<String>,
    pub allow_uids: Option<Vec<u32>>,
}

#[derive(Deserialize, Clone, Copy)]
#[serde(rename_all = "lowercase")]
pub enum Naming {
    Numbered,
    Dated,
    Sequence,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Log {
    pub path: PathBuf,
    pub format: Option<String>,
    pub datefmt: Option<String>,
    pub escape: Option<bool>,
    pub max_bytes: Option<Size>,
    pub when: Option<String>,
    pub interval: Option<u32>,
    #[serde(default)]
    pub utc: bool,
    pub naming: Option<Naming>,
    pub keep: Option<u32>,
    pub keep_age: Option<String>,
    pub keep_bytes: Option<Size>,
    pub compress: Option<String>,
    pub fsync: Option<String>,
    pub mode: Option<String>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Route {
    pub logger: Option<String>,
    pub facility: Option<String>,
    pub level: Option<String>,
    #[serde(default)]
    pub field: BTreeMap<String, String>,
    pub log: String,
}
