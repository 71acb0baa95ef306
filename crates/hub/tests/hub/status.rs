//! Lists and checks of the two folders.

use std::fs;

use crate::common::*;
use facesocial_hub::{
    Catalog, HubError, Manifest, Places, Profile, Puller, Settings, State,
    mirror::Mirror,
    status::{self, Damage},
};

/// A folder with one bundled network and one that was pulled; another one is absent.
fn folders() -> (Scratch, Catalog, Places) {
    let scratch = Scratch::new();
    let from = scratch.path().join("from");
    fs::create_dir(&from).unwrap();
    fs::write(from.join("model.safetensors"), weights(2, 0)).unwrap();
    let settings = Settings { mirror: Some(Mirror::Folder(from)), ..Settings::bare().unwrap() };
    let manifest = |name| manifest_of(name, 2, HUGGING_FACE, FILE, MIT);
    let (pulled, absent) = (manifest("pulled"), manifest("absent"));
    let outcome = Puller::new(&scratch.places, &settings).pull(&[&pulled]).unwrap().remove(0);

    let bundled = scratch.path().join("weights");
    fs::create_dir(&bundled).unwrap();
    let entry = outcome.result.unwrap().entry;
    fs::copy(scratch.models().join(&entry.file), bundled.join("bundled.safetensors")).unwrap();
    let mut lock = facesocial_convert::lock::Lock::default();
    let (name, file) = ("bundled".to_owned(), "bundled.safetensors".to_owned());
    lock.insert(facesocial_convert::lock::Entry { name, file, ..entry });
    lock.save(&bundled).unwrap();
    let own = Manifest { profile: Profile::Bundled, service: "mtcnn".to_owned(), ..manifest("bundled") };

    let places = Places { bundled: Some(bundled), ..scratch.places.clone() };
    let catalog = catalog(&[&absent, &own, &pulled]);
    (scratch, catalog, places)
}

#[test]
fn a_list_tells_what_is_there_and_what_would_run() {
    let (_scratch, catalog, places) = folders();
    let listed = status::list(&catalog, &places, None).unwrap();
    let found: Vec<_> = listed.iter().map(|l| (l.manifest.name.as_str(), l.state.clone(), l.runs_in.clone())).collect();
    let expected = [("absent", State::Absent), ("pulled", State::Present), ("bundled", State::Present)];
    assert_eq!(found, expected.map(|(name, state)| (name, state, None)));
    assert!(listed[1].file.as_ref().unwrap().is_file());

    let plan = [("bundled".to_owned(), vec!["mtcnn".to_owned()])].into();
    let planned = status::list(&catalog, &places, Some(&plan)).unwrap();
    let runs: Vec<_> = planned.iter().map(|l| l.runs_in.as_ref().unwrap().len()).collect();
    assert_eq!(runs, [0, 0, 1]);

    fs::write(listed[1].file.as_ref().unwrap(), "short").unwrap();
    let damaged = status::list(&catalog, &places, None).unwrap();
    assert!(matches!(damaged[1].state, State::Damaged(Damage::Size { found: 5, .. })), "{:?}", damaged[1].state);
}

#[test]
fn damage_of_every_kind_is_found() {
    let (scratch, catalog, places) = folders();
    let damage = |names: &[&str]| {
        let names: Vec<_> = names.iter().map(|n| (*n).to_owned()).collect();
        let all = status::verify(&catalog, &places, &names)?;
        Ok::<_, HubError>(all.into_iter().map(|v| (v.network, v.damage)).collect::<Vec<_>>())
    };
    let fine = [(Some("bundled".to_owned()), None), (Some("pulled".to_owned()), None)];
    assert_eq!(damage(&[]).unwrap(), fine);
    assert_eq!(damage(&["pulled"]).unwrap(), fine[1..]);
    let error = damage(&["absent"]).unwrap_err().to_string();
    assert_eq!(error, "absent is not pulled; bring it with `facesocial models pull absent`");

    let file = scratch.models().join("pulled.safetensors");
    let mut bytes = fs::read(&file).unwrap();
    *bytes.last_mut().unwrap() ^= 1;
    fs::write(&file, &bytes).unwrap();
    fs::write(scratch.models().join("stray.safetensors"), "x").unwrap();
    fs::remove_file(places.bundled.as_ref().unwrap().join("bundled.safetensors")).unwrap();
    let found = damage(&[]).unwrap();
    assert_eq!(found[0].1, Some(Damage::Gone));
    assert!(matches!(&found[1].1, Some(Damage::Digest { found, .. }) if *found == sha256(&bytes)));
    assert_eq!(found[2], (None, Some(Damage::Unlisted)));
}

#[test]
fn the_path_of_a_network_is_absolute_or_an_error_that_helps() {
    let (scratch, catalog, places) = folders();
    for name in ["pulled", "bundled"] {
        let path = status::path_of(&catalog, &places, name).unwrap();
        assert!(path.is_absolute() && path.is_file());
    }
    let error = |name| status::path_of(&catalog, &places, name).unwrap_err().to_string();
    assert!(error("absent").contains("models pull absent"));
    assert!(error("unheard-of").contains("known are absent, bundled, pulled"));
    fs::remove_file(scratch.models().join("pulled.safetensors")).unwrap();
    assert!(error("pulled").contains("the file is gone"), "{}", error("pulled"));
    let nowhere = Places { bundled: None, ..places.clone() };
    let error = status::path_of(&catalog, &nowhere, "bundled").unwrap_err().to_string();
    assert!(error.contains("--weights DIR") && error.contains("fetch --only bundled"), "{error}");
}
