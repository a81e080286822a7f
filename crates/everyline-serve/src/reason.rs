//! Why something from the network was refused. Each has a name for the counters, which is promised.

use std::fmt;

macro_rules! reasons {
    ($($(#[$doc:meta])* $name:ident = $text:literal, $says:literal;)*) => {
        /// Why a record, a connection or a datagram was refused.
        #[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
        #[repr(usize)]
        pub enum Reason { $($(#[$doc])* $name,)* }

        impl Reason {
            /// All of them, in the order of their numbers.
            pub const ALL: &'static [Self] = &[$(Self::$name,)*];

            /// Its name in the metrics.
            pub fn name(self) -> &'static str {
                match self { $(Self::$name => $text,)* }
            }
        }

        impl fmt::Display for Reason {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str(match self { $(Self::$name => $says,)* })
            }
        }
    };
}

reasons! {
    /// A record is longer than the limit, or says so.
    TooLarge = "too_large", "a record is larger than `max_record_bytes`";
    /// Bytes that are not what the protocol says.
    Malformed = "malformed", "the bytes are not what the protocol says";
    /// A pickle that wants a class, a function or a call.
    NotPlain = "not_plain", "a pickle asks for a class or a call: only plain data is accepted, and nothing is executed";
    /// A pickle with an operation that no plain record needs.
    Opcode = "opcode", "a pickle has an operation that plain data does not need";
    /// Nested deeper than the limit, or in itself.
    TooDeep = "too_deep", "values are nested too deep";
    /// More values, or more bytes once unfolded, than the limit.
    TooMany = "too_many", "a record unfolds to more values or bytes than the limit";
    /// A pickle that refers to something it did not define.
    Memo = "memo", "a pickle refers to a value that it did not define, or defines too many";
    /// What was decoded is no record.
    NotARecord = "not_a_record", "a value was sent that is no log record (no object with text for its names)";
    /// The stream ended inside a record.
    CutOff = "cut_off", "the peer ended in the middle of a record";
    /// A record took too long to arrive.
    Slow = "slow", "a record did not arrive whole within `record_timeout`";
    /// Nothing came for too long.
    Idle = "idle", "nothing came within `idle_timeout`";
    /// The limit of connections is reached.
    Connections = "connections", "there are `max_connections` connections already";
    /// The peer may not use this socket.
    Peer = "peer", "the user of the peer is not in `allow_uids`";
    /// A first message of the acknowledged protocol that cannot be.
    Hello = "hello", "the first message is not that of an everyline client of a version known here";
    /// Sequence numbers that do not grow.
    Sequence = "sequence", "sequence numbers do not grow";
    /// The socket failed.
    Socket = "socket", "the connection failed";
    /// The log did not take the record.
    Log = "log", "the log did not take a record";
}
