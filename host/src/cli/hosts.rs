//! `wharf hosts`: the hosts that run.

use serde_json::json;

use super::args::HostsArgs;
use super::exit::{Exit, Failure};
use super::host_client::HostClient;
use super::output;

/// Lists the hosts that answer.
pub(super) fn hosts(args: &HostsArgs) -> Result<Exit, Failure> {
    let rows = HostClient::with(&args.query, async |hosts| Ok(hosts.all().await?))?;
    if args.query.json {
        output::json(&json!({ "hosts": rows }))?;
    } else if rows.is_empty() {
        output::status("no host answers");
    } else {
        let cells = rows.into_iter().map(|row| {
            let admin = if row.admin { "yes" } else { "no" };
            [
                row.host,
                row.version,
                row.guests.to_string(),
                admin.to_owned(),
                row.id,
            ]
        });
        output::table(["HOST", "VERSION", "GUESTS", "ADMIN", "ID"], cells)?;
    }
    Ok(Exit::Done)
}
