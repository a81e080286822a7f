//! A record as it came, whatever the protocol: names and values, under the names that Python's `LogRecord` uses.

/// Plain data. Trees only: nothing is shared, nothing contains itself.
#[derive(Clone, Debug, PartialEq)]
pub enum Value {
    /// Python's `None`, JSON's `null`.
    None,
    /// True or false.
    Bool(bool),
    /// A whole number.
    Int(i128),
    /// Any other number.
    Float(f64),
    /// Text. What was not UTF-8 became U+FFFD.
    Str(String),
    /// Bytes.
    Bytes(Vec<u8>),
    /// A list, a tuple, a set.
    List(Vec<Value>),
    /// A dictionary, in the order in which it came.
    Dict(Vec<(Value, Value)>),
}

impl Value {
    /// Its text, if it is text.
    pub fn as_str(&self) -> Option<&str> {
        match self {
            Self::Str(text) => Some(text),
            _ => None,
        }
    }

    /// As a number, if it is one.
    pub fn as_f64(&self) -> Option<f64> {
        match self {
            Self::Int(number) => Some(*number as f64),
            Self::Float(number) => Some(*number),
            Self::Bool(flag) => Some(f64::from(u8::from(*flag))),
            _ => None,
        }
    }

    /// As a whole number, if it is one.
    pub fn as_int(&self) -> Option<i128> {
        match self {
            Self::Int(number) => Some(*number),
            Self::Bool(flag) => Some(i128::from(*flag)),
            _ => None,
        }
    }
}

/// One record. Fields have the names of Python's `LogRecord`; a name stands once, the last value counts.
#[derive(Clone, Debug, PartialEq, Default)]
pub struct Record {
    fields: Vec<(String, Value)>,
}

impl Record {
    /// Sets a field, in its place if it is there.
    pub fn set(&mut self, name: impl Into<String>, value: Value) {
        let name = name.into();
        match self.fields.iter_mut().find(|(known, _)| *known == name) {
            Some((_, old)) => *old = value,
            None => self.fields.push((name, value)),
        }
    }

    /// Sets a field if there is none of that name.
    pub fn set_default(&mut self, name: &str, value: impl FnOnce() -> Value) {
        if self.get(name).is_none() {
            self.fields.push((name.to_owned(), value()));
        }
    }

    /// Gives a field another name, if it is there and the other is not.
    pub fn rename(&mut self, from: &str, to: &str) {
        if self.get(to).is_none()
            && let Some((name, _)) = self.fields.iter_mut().find(|(name, _)| name == from)
        {
            to.clone_into(name);
        }
    }

    /// Takes a field away.
    pub fn remove(&mut self, name: &str) {
        self.fields.retain(|(known, _)| known != name);
    }

    /// A field.
    pub fn get(&self, name: &str) -> Option<&Value> {
        self.fields.iter().find(|(known, _)| known == name).map(|(_, value)| value)
    }

    /// All fields, in order.
    pub fn fields(&self) -> &[(String, Value)] {
        &self.fields
    }

    /// The logger; empty if it has none.
    pub fn logger(&self) -> &str {
        self.get("name").and_then(Value::as_str).unwrap_or("")
    }

    /// Python's number of its level; 0 if it has none.
    pub fn level(&self) -> i128 {
        self.get("levelno").and_then(Value::as_int).unwrap_or(0)
    }

    /// Its level as the engine takes it.
    pub fn level_byte(&self) -> u8 {
        u8::try_from(self.level().clamp(0, 255)).unwrap_or(0)
    }

    /// When it was made, in seconds since 1970; the time of its arrival was put there if it did not say.
    pub fn created(&self) -> f64 {
        self.get("created").and_then(Value::as_f64).unwrap_or(0.0)
    }

    /// Completes a record that has come: a time, a level in both forms, a message.
    pub fn complete(&mut self, now: f64) {
        if !self.get("created").and_then(Value::as_f64).is_some_and(f64::is_finite) {
            self.set("created", Value::Float(now));
        }
        match (self.get("levelno").and_then(Value::as_int), self.get("levelname").and_then(Value::as_str)) {
            (Some(_), Some(_)) => {}
            (Some(number), None) => {
                let name = level_name(number).map_or_else(|| format!("Level {number}"), str::to_owned);
                self.set("levelname", Value::Str(name));
            }
            (None, Some(name)) => {
                let number = level_number(name).unwrap_or(20);
                self.set("levelno", Value::Int(number));
            }
            (None, None) => {
                self.set("levelno", Value::Int(20));
                self.set("levelname", Value::Str("INFO".into()));
            }
        }
        if self.get("message").is_none() {
            let message = self.get("msg").cloned().unwrap_or(Value::Str(String::new()));
            self.set("message", message);
        }
    }
}

/// Python's name of a level.
pub fn level_name(number: i128) -> Option<&'static str> {
    Some(match number {
        50 => "CRITICAL",
        40 => "ERROR",
        30 => "WARNING",
        20 => "INFO",
        10 => "DEBUG",
        0 => "NOTSET",
        _ => return None,
    })
}

/// The number of a level that is named, by Python or by others.
pub fn level_number(name: &str) -> Option<i128> {
    Some(match name.to_ascii_uppercase().as_str() {
        "CRITICAL" | "FATAL" | "CRIT" | "ALERT" | "EMERG" | "EMERGENCY" | "PANIC" => 50,
        "ERROR" | "ERR" => 40,
        "WARNING" | "WARN" => 30,
        "INFO" | "NOTICE" | "INFORMATION" => 20,
        "DEBUG" => 10,
        "TRACE" => 5,
        "NOTSET" => 0,
        _ => return None,
    })
}
