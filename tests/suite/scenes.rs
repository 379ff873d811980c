//! Every file in `tests/scenarios/` is played.
//!
//! `SCENE=roster cargo test --test suite scenes` plays those whose name contains the word.

use std::collections::VecDeque;
use std::fs;
use std::path::Path;
use std::sync::Mutex;
use std::thread;

use crate::harness::stage;

#[test]
fn every_scene_plays() {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/scenarios");
    let wanted = std::env::var("SCENE").unwrap_or_default();
    let mut scenes: Vec<(String, String)> = fs::read_dir(&folder)
        .expect("the folder is there")
        .map(|entry| entry.expect("readable").path())
        .filter(|path| path.extension().is_some_and(|ending| ending == "scene"))
        .map(|path| {
            let name = path.file_stem().expect("a name").to_string_lossy();
            let text = fs::read_to_string(&path).expect("readable");
            (name.into_owned(), text)
        })
        .filter(|(name, _)| name.contains(&wanted))
        .collect();
    scenes.sort();
    assert!(!scenes.is_empty(), "no scenes in {}", folder.display());
    let queue = Mutex::new(VecDeque::from(scenes));
    let failures = Mutex::new(Vec::new());
    thread::scope(|scope| {
        // They mostly wait for the server, so more than there are cores.
        for _ in 0..4 {
            scope.spawn(|| {
                loop {
                    let next = queue.lock().expect("no panic inside").pop_front();
                    let Some((name, text)) = next else { return };
                    if let Err(failure) = stage::play(&name, &text) {
                        failures.lock().expect("no panic inside").push(failure);
                    }
                }
            });
        }
    });
    let failures = failures.into_inner().expect("no panic inside");
    assert!(failures.is_empty(), "\n{}", failures.join("\n"));
}
