//! Bans: who is kept out, by address or by account.

use hyper::Method;

use super::server::{Query, Server, escaped};
use super::table::{table, time_of};
use super::{Failure, Output};
use crate::admin::{Ban, BanPage, NewBan, PAGE_MAX};
use crate::cli::Bans;

/// Carries out a command about bans.
pub(super) async fn carry_out(server: &Server, command: Bans, out: Output) -> Result<(), Failure> {
    match command {
        Bans::Add {
            target,
            reason,
            lasting,
        } => {
            let ban = NewBan {
                target,
                reason: reason.unwrap_or_default(),
                secs: lasting.map(|lasting| lasting.secs),
            };
            let ban: Ban = server.told(Method::POST, "bans", &ban).await?;
            out.write(&ban, |ban| {
                let until = ban.until.map(|until| format!(" until {}", time_of(until)));
                format!("banned {}{}\n", ban.target, until.unwrap_or_default())
            });
        }
        Bans::Remove { target } => {
            let path = format!("bans/{}", escaped(&target));
            server.tell::<()>(Method::DELETE, &path, None).await?;
            out.done(&format!("{target} is not banned any more"));
        }
        Bans::List => list(server, out).await?,
    }
    Ok(())
}

async fn list(server: &Server, out: Output) -> Result<(), Failure> {
    let mut after: Option<String> = None;
    loop {
        let max = PAGE_MAX.to_string();
        let query = Query::new()
            .with("after", after.as_deref())
            .with("max", Some(&max));
        let page: BanPage = server.ask("bans", &query).await?;
        let is_first = after.is_none();
        let is_read_on = out.write(&page, |page| {
            let rows: Vec<_> = page.bans.iter().map(row).collect();
            let text = table(["TARGET", "SINCE", "UNTIL", "BY", "REASON"], &rows);
            match text.split_once('\n') {
                Some((_, rows)) if !is_first => rows.to_owned(),
                _ => text,
            }
        });
        if page.next.is_none() || !is_read_on {
            return Ok(());
        }
        after = page.next;
    }
}

fn row(ban: &Ban) -> [String; 5] {
    [
        ban.target.clone(),
        time_of(ban.since),
        ban.until.map_or_else(|| "-".to_owned(), time_of),
        ban.by.clone(),
        // Whoever wrote it must not write to the terminal of whoever reads it.
        ban.reason.escape_debug().to_string(),
    ]
}
