//! What sessions do at the end of a connection.

use std::path::PathBuf;
use std::time::Duration;

use tokio::time::timeout;

use super::edges::ends;
use crate::admin;
use crate::cluster::{Cluster, Layout};
use crate::crowd::{Size, is_answer};
use crate::session::address;
use crate::stage::Stage;
use crate::stream::{Cause, PASSWORD, Resumption, Stream};
use crate::verdict::{Expected, Verdict};

/// How often two race for one session.
const RACES: usize = 10;

/// How long a session that works may take to show it.
const ANSWER: Duration = Duration::from_secs(5);

pub(super) async fn resumed_twice(folder: PathBuf) -> Verdict {
    let stage = Stage::usual(&folder).await;
    let user = 900;
    let admin = stage.cluster.origins[0].admin;
    admin::add_account(admin, &address(user), PASSWORD).await;
    let mut faults = Vec::new();
    for race in 0..RACES {
        match race_once(&stage.cluster, user).await {
            Ok(1) => {}
            Ok(winners) => faults.push(format!("race {race} has {winners} winners")),
            Err(cause) => faults.push(format!("race {race}: {cause}")),
        }
    }
    let mut verdict = stage.finish(Expected::default()).await;
    for fault in faults {
        verdict.complain("race", &fault);
    }
    verdict
}

/// Two connections at two edges want the same session at once; how many work afterwards.
async fn race_once(cluster: &Cluster, user: usize) -> Result<usize, Cause> {
    let name = format!("user{user}");
    let mut first = Stream::log_in(cluster.edges[0].clients, &name).await?;
    first.bind("race").await?;
    let id = first.enable(&mut Vec::new()).await?.id;
    let mut one = Stream::log_in(cluster.edges[0].clients, &name).await?;
    let mut other = Stream::log_in(cluster.edges[1].clients, &name).await?;
    // Cut without a word: the session sleeps, or is still believed to be connected.
    drop(first);
    let asked = tokio::join!(one.ask_to_resume(&id, 0), other.ask_to_resume(&id, 0));
    asked.0.and(asked.1)?;
    let answers = tokio::join!(one.resumption(), other.resumption());
    let mut winners = 0;
    for (stream, answer) in [(&mut one, answers.0), (&mut other, answers.1)] {
        // The one that lost may have been told so by the end of its stream.
        if matches!(answer, Ok(Resumption::Resumed(_))) && works(stream, user).await {
            winners += 1;
        }
    }
    Ok(winners)
}

/// Whether a session answers for itself.
async fn works(stream: &mut Stream, user: usize) -> bool {
    let to = address(user);
    let ping = format!("<iq type='get' id='alive' to='{to}'><ping xmlns='urn:xmpp:ping'/></iq>");
    let answered = async {
        stream.send(&ping).await?;
        while !is_answer(&stream.next().await?, "alive") {}
        Ok::<_, Cause>(())
    };
    timeout(ANSWER, answered).await.is_ok_and(|it| it.is_ok())
}

pub(super) async fn plain_end_with_edge(folder: PathBuf) -> Verdict {
    let size = Size {
        plain: 6,
        plain_come_back: false,
        ..Size::default()
    };
    let mut stage = Stage::set(&folder, Layout::default(), size).await;
    stage.cluster.edges[0].kill();
    stage.crowd.everyone_is_heard().await;
    stage.finish(ends(&[0])).await
}
