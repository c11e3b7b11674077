//! Values that the host's operator set for this guest, under `config` in its settings.

use std::fmt::Display;
use std::str::FromStr;

use crate::bindings::calls::wasi::config::store;
use crate::error::CallError;

/// The value of a key, if it is set.
///
/// # Errors
/// If the host cannot read its own settings.
pub fn get(key: &str) -> Result<Option<String>, CallError> {
    Ok(store::get(key)?)
}

/// The value of a key as a number, or whatever else can be made from text.
///
/// # Errors
/// [`CallError::Invalid`], with the key, if the value is set to something else.
///
/// ```no_run
/// # fn main() -> Result<(), wharf_guest::CallError> {
/// let threshold = wharf_guest::config::parse("threshold")?.unwrap_or(4.5);
/// # let _: f64 = threshold;
/// # Ok(())
/// # }
/// ```
pub fn parse<T: FromStr<Err: Display>>(key: &str) -> Result<Option<T>, CallError> {
    get(key)?.map(|value| parse_value(key, &value)).transpose()
}

/// Every key and its value.
///
/// # Errors
/// If the host cannot read its own settings.
pub fn all() -> Result<Vec<(String, String)>, CallError> {
    Ok(store::get_all()?)
}

fn parse_value<T: FromStr<Err: Display>>(key: &str, value: &str) -> Result<T, CallError> {
    value
        .trim()
        .parse()
        .map_err(|error| CallError::Invalid(format!("config `{key}` is `{value}`: {error}")))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_value_of_another_type_is_named() {
        assert_eq!(parse_value("threshold", " 4.5"), Ok(4.5));
        assert_eq!(
            parse_value::<u8>("threshold", "high"),
            Err(CallError::Invalid(
                "config `threshold` is `high`: invalid digit found in string".into()
            ))
        );
    }
}
