//! Domains: what is served, and what is added to that while the server runs.

use hyper::Method;

use super::server::{Query, Server, escaped};
use super::table::table;
use super::{Failure, Output};
use crate::admin::Domains;
use crate::cli::Domain;

/// Carries out a command about domains.
pub(super) async fn carry_out(
    server: &Server,
    command: Domain,
    out: Output,
) -> Result<(), Failure> {
    match command {
        Domain::Add { domain } => {
            let path = format!("domains/{}", escaped(&domain));
            server.tell::<()>(Method::PUT, &path, None).await?;
            out.done(&format!("added {domain}"));
        }
        Domain::Remove {
            domain,
            force,
            accounts,
        } => {
            let is = |is: bool| is.then_some("true");
            let query = Query::new()
                .with("force", is(force))
                .with("accounts", is(accounts));
            let path = format!("domains/{}{query}", escaped(&domain));
            server.tell::<()>(Method::DELETE, &path, None).await?;
            out.done(&format!("removed {domain}"));
        }
        Domain::List => {
            let told: Domains = server.ask("domains", &Query::new()).await?;
            out.write(&told, |told| {
                let rows: Vec<_> = told
                    .domains
                    .iter()
                    .map(|domain| {
                        let from = match domain.is_configured {
                            true => "configuration",
                            false => "added",
                        };
                        [domain.name.clone(), from.to_owned()]
                    })
                    .collect();
                table(["DOMAIN", "FROM"], &rows)
            });
        }
    }
    Ok(())
}
