//! `${NAME}` in a value takes an environment variable; `$${` is a plain `${`.

use std::borrow::Cow;

use super::environment::Environment;

/// Replaces every `${NAME}`.
///
/// # Errors
/// Says in words which variable is missing, or what is wrong with its name.
pub(super) fn expand<'t>(
    text: &'t str,
    environment: Environment<'_>,
) -> Result<Cow<'t, str>, String> {
    if !text.contains("${") {
        return Ok(Cow::Borrowed(text));
    }
    let mut expanded = String::with_capacity(text.len());
    let mut rest = text;
    while let Some(at) = rest.find("${") {
        let (before, after) = (&rest[..at], &rest[at + 2..]);
        if let Some(before) = before.strip_suffix('$') {
            expanded.push_str(before);
            expanded.push_str("${");
            rest = after;
            continue;
        }
        let (name, after) = after
            .split_once('}')
            .ok_or("has a `${` without a `}`; for a plain `${` write `$${`")?;
        expanded.push_str(before);
        expanded.push_str(&variable(name, environment)?);
        rest = after;
    }
    expanded.push_str(rest);
    Ok(Cow::Owned(expanded))
}

fn variable(name: &str, environment: Environment<'_>) -> Result<String, String> {
    let safe = |c: char| c.is_ascii_alphanumeric() || c == '_';
    if name.is_empty() || name.starts_with(|c: char| c.is_ascii_digit()) || !name.chars().all(safe)
    {
        return Err(
            "has a `${…}` that names no environment variable; for a plain `${` write `$${`"
                .to_owned(),
        );
    }
    let value = environment(name)
        .ok_or_else(|| format!("needs the environment variable {name}, which is not set"))?;
    value
        .into_string()
        .map_err(|_| format!("needs the environment variable {name}, which is not UTF-8"))
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::ffi::OsString;

    fn environment(name: &str) -> Option<OsString> {
        (name == "WHO").then(|| "world".into())
    }

    #[test]
    fn a_variable_is_put_in_its_place() {
        for (text, expanded) in [
            ("plain $5 {x}", "plain $5 {x}"),
            ("hello ${WHO}!", "hello world!"),
            ("${WHO}${WHO}", "worldworld"),
            ("$${WHO} ${WHO}", "${WHO} world"),
        ] {
            assert_eq!(expand(text, &environment).as_deref(), Ok(expanded));
        }
    }

    #[test]
    fn what_names_no_variable_is_refused() {
        for bad in ["${", "${}", "${WHO", "${1}", "${A B}", "${NOT_SET}"] {
            assert!(expand(bad, &environment).is_err(), "{bad}");
        }
    }
}
