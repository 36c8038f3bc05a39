//! Timers and counters of the MC services, which the schema lists one by one.
//!
//! What each is for and its unit, TS 24.379 and TS 24.380 say; here they are numbers of 8 or 16 bits.

use super::{
    DocumentError,
    document::Extension,
    element::Place,
    fields::{Fields, Value},
};

/// A type of one element for each number, in the order of the schema.
macro_rules! numbers {
    ($(#[$doc:meta])* $type:ident { $($field:ident: $bits:ty = $name:literal,)* }) => {
        $(#[$doc])*
        #[derive(Clone, Debug, Eq, PartialEq)]
        pub struct $type {
            $(#[doc = concat!("`", $name, "`.")] pub $field: $bits,)*
            /// `anyExt`.
            pub extensions: Vec<Extension>,
        }

        impl $type {
            pub(super) fn read(place: &Place<'_>) -> Result<Self, DocumentError> {
                let mut fields = Fields::of(place, &[])?;
                let numbers = Self {
                    $($field: fields.value($name, Value::number::<$bits>)?,)*
                    extensions: fields.extensions()?,
                };
                fields.end()?;
                Ok(numbers)
            }

            pub(super) fn numbers(&self) -> Vec<(&'static str, u16)> {
                vec![$(($name, self.$field.into()),)*]
            }
        }
    };
}

numbers! {
    /// `Timers` of `on-network`.
    OnNetworkTimers {
        t100: u8 = "T100",
        t101: u8 = "T101",
        t103: u8 = "T103",
        t104: u8 = "T104",
        t132: u8 = "T132",
    }
}

numbers! {
    /// `Timers` of `off-network`.
    OffNetworkTimers {
        tfg1: u16 = "TFG1",
        tfg2: u16 = "TFG2",
        tfg3: u16 = "TFG3",
        tfg4: u8 = "TFG4",
        tfg5: u8 = "TFG5",
        tfg11: u16 = "TFG11",
        tfg12: u16 = "TFG12",
        tfg13: u8 = "TFG13",
        tfg14: u8 = "TFG14",
        tfp1: u16 = "TFP1",
        tfp2: u8 = "TFP2",
        tfp3: u16 = "TFP3",
        tfp4: u16 = "TFP4",
        tfp5: u16 = "TFP5",
        tfp6: u16 = "TFP6",
        tfp7: u8 = "TFP7",
        tfb1: u16 = "TFB1",
        tfb2: u8 = "TFB2",
        tfb3: u8 = "TFB3",
        t201: u16 = "T201",
        t203: u8 = "T203",
        t204: u8 = "T204",
        t205: u8 = "T205",
        t230: u8 = "T230",
        t233: u8 = "T233",
        tfe1: u16 = "TFE1",
        tfe2: u8 = "TFE2",
    }
}

numbers! {
    /// `Counters` of `off-network`.
    OffNetworkCounters {
        cfp1: u8 = "CFP1",
        cfp3: u8 = "CFP3",
        cfp4: u8 = "CFP4",
        cfp6: u8 = "CFP6",
        cfg11: u8 = "CFG11",
        cfg12: u8 = "CFG12",
        c201: u8 = "C201",
        c204: u8 = "C204",
        c205: u8 = "C205",
    }
}
