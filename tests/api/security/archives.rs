//! Archives that are made to do harm: nothing is written where they say, and no more is unpacked than may be.

use std::{
    collections::BTreeSet,
    io::Write,
    path::{Path, PathBuf},
};

use flate2::{Compression, write::DeflateEncoder};
use reqwest::multipart::Form;
use serde_json::{Value, json};
use zip::{ZipWriter, write::SimpleFileOptions};

use crate::{
    helpers::{config, get, ok, part, photo, post, problem, spawn_app},
    jobs::{accepted, archive, ended},
};

/// All files below a folder.
fn files(folder: &Path) -> BTreeSet<PathBuf> {
    let mut found = BTreeSet::new();
    for entry in std::fs::read_dir(folder).unwrap().map(Result::unwrap) {
        if entry.file_type().unwrap().is_dir() {
            found.extend(files(&entry.path()));
        } else {
            found.insert(entry.path());
        }
    }
    found
}

/// One compressed entry under many names: all lead to the same bytes.
fn overlapping(names: usize, size: usize) -> Vec<u8> {
    let mut packed = DeflateEncoder::new(Vec::new(), Compression::best());
    packed.write_all(&vec![0; size]).unwrap();
    let packed = packed.finish().unwrap();
    let mut crc = flate2::Crc::new();
    crc.update(&vec![0; size]);
    let fields = |name: &str| {
        let numbers = [crc.sum(), packed.len() as u32, size as u32];
        let lengths = [name.len() as u16, 0];
        [
            &[20, 0, 0, 0, 8, 0, 0, 0, 0, 0][..],
            &numbers.map(u32::to_le_bytes).concat(),
            &lengths.map(u16::to_le_bytes).concat(),
        ]
        .concat()
    };
    let name = |n: usize| format!("ann/{n:06}.bmp");
    let mut bytes = [b"PK\x03\x04", &fields(&name(0))[..], name(0).as_bytes(), &packed].concat();
    let directory = bytes.len() as u32;
    for n in 0..names {
        bytes.extend([&b"PK\x01\x02\x14\x00"[..], &fields(&name(n)), &[0; 14], name(n).as_bytes()].concat());
    }
    let length = bytes.len() as u32 - directory;
    let counts = [0, 0, names as u16, names as u16].map(u16::to_le_bytes).concat();
    bytes.extend([&b"PK\x05\x06"[..], &counts, &[length, directory].map(u32::to_le_bytes).concat(), &[0; 2]].concat());
    bytes
}

#[tokio::test]
async fn what_an_archive_calls_itself_leads_nowhere() {
    let around = tempfile::tempdir().unwrap();
    let mut config = config();
    config.store.data_dir = around.path().join("deep/data");
    let app = spawn_app(config);
    app.ready().await;
    let made = reqwest::Client::new().post(app.gateway("/api/v1/collections")).json(&json!({ "name": "harm" }));
    assert_eq!(made.send().await.unwrap().status(), 201);
    let here = app.gateway("/api/v1/collections/harm");

    let evil = around.path().join("evil.jpg");
    let mut zip = ZipWriter::new(std::io::Cursor::new(Vec::new()));
    let options = SimpleFileOptions::default();
    let names = [
        "../evil.jpg".to_owned(),
        "../../evil.jpg".to_owned(),
        "ann/../../evil.jpg".to_owned(),
        "ann/..\\..\\evil.jpg".to_owned(),
        evil.to_str().unwrap().to_owned(),
        "C:/evil.jpg".to_owned(),
        "//host/evil.jpg".to_owned(),
        "ann/\u{1b}[31mevil.jpg".to_owned(),
        "ann/evil\n{\"level\":\"ERROR\"}.jpg".to_owned(),
    ];
    for name in &names {
        zip.start_file(name.as_str(), options).unwrap();
        zip.write_all(&photo("portrait.jpg")).unwrap();
    }
    zip.add_symlink("ann/link.jpg", "/etc/passwd", options).unwrap();
    zip.add_symlink("ann/up.jpg", "../../../../etc/passwd", options).unwrap();
    zip.start_file("ann/nested.jpg", options).unwrap();
    zip.write_all(&archive(&[("ann/1.jpg", photo("portrait.jpg"))])).unwrap();
    zip.start_file("ann/same_1.jpg", options).unwrap();
    zip.write_all(&photo("portrait.jpg")).unwrap();
    zip.start_file("ann/same_2.jpg", options).unwrap();
    zip.write_all(&photo("portrait_2.jpg")).unwrap();
    let mut bytes = zip.finish().unwrap().into_inner();
    // Two entries of one name, which no program writes.
    for at in 0..bytes.len() - 14 {
        if &bytes[at..at + 14] == b"ann/same_2.jpg" {
            bytes[at + 9] = b'1';
        }
    }
    let before = files(around.path());
    let send = || Form::new().part("file", part("../../../evil.zip", bytes.clone()));
    let job = ended(&accepted(&app, post(format!("{here}/imports"), send()).await).await).await;
    assert_eq!(job["status"], "completed", "{job}");
    let report = job["results"]["files"].as_array().unwrap();
    let told = |path: &str| -> Vec<(&str, &str)> {
        let mine = report.iter().filter(|file| file["path"] == path);
        mine.map(|file| (file["status"].as_str().unwrap(), file["code"].as_str().unwrap_or_default())).collect()
    };
    for file in report.iter().filter(|file| file["path"].as_str().unwrap().contains("evil")) {
        assert_eq!((&file["status"], &file["code"]), (&json!("rejected"), &json!("INVALID_INPUT")), "{file}");
        let path = file["path"].as_str().unwrap();
        assert!(!path.chars().any(char::is_control), "{path:?}");
    }
    assert_eq!(report.iter().filter(|file| file["path"].as_str().unwrap().contains("evil")).count(), names.len());
    assert_eq!(told("ann/link.jpg"), [("rejected", "INVALID_INPUT")]);
    assert_eq!(told("ann/up.jpg"), [("rejected", "INVALID_INPUT")]);
    assert_eq!(told("ann/nested.jpg"), [("rejected", "UNSUPPORTED_FORMAT")]);
    // Both photos are looked at; one name twice replaces nothing.
    assert_eq!(told("ann/same_1.jpg"), [("enrolled", ""), ("enrolled", "")]);
    let faces = ok(get(format!("{here}/persons/external:ann/faces")).await).await;
    assert_eq!(faces["items"].as_array().unwrap().len(), 2);

    // The same as a job of analyses, whose archive may have photos anywhere.
    let form = send().text("kind", "analyze").text("options", json!({ "assess_quality": true }).to_string());
    let job = accepted(&app, post(app.gateway("/api/v1/jobs"), form).await).await;
    assert_eq!(ended(&job).await["status"], "completed");
    let lines = get(format!("{job}/results")).await.text().await.unwrap();
    let lines: Vec<Value> = lines.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    let done = lines.iter().filter(|line| line["status"] == "done").count();
    assert_eq!((lines.len(), done), (names.len() + 5, 2), "{lines:#?}");

    let after = files(around.path());
    let new: Vec<_> = after.difference(&before).collect();
    assert!(new.iter().all(|path| path.starts_with(around.path().join("deep/data"))), "{new:?}");
    assert!(after.iter().all(|path| !path.to_str().unwrap().contains("evil")), "{after:?}");
}

#[tokio::test]
async fn archives_that_grow_are_refused_before_they_do() {
    let app = crate::helpers::app();
    let made = reqwest::Client::new().post(app.gateway("/api/v1/collections")).json(&json!({ "name": "growing" }));
    assert_eq!(made.send().await.unwrap().status(), 201);
    let imports = app.gateway("/api/v1/collections/growing/imports");
    let send = |bytes: Vec<u8>| Form::new().part("file", part("photos.zip", bytes));
    // Thirty gigabytes in a few hundred kilobytes.
    let bomb = overlapping(2000, 15 << 20);
    assert!(bomb.len() < 1 << 20, "{}", bomb.len());
    let detail = problem(post(imports.clone(), send(bomb.clone())).await, 413, "PAYLOAD_TOO_LARGE").await;
    assert!(detail.contains("unpacks"), "{detail}");
    let job = send(bomb).text("kind", "analyze");
    problem(post(app.gateway("/api/v1/jobs"), job).await, 413, "PAYLOAD_TOO_LARGE").await;
    // One more entry than may be.
    let names: Vec<String> = (0..=10_000).map(|n| format!("ann/{n}.jpg")).collect();
    let entries: Vec<(&str, Vec<u8>)> = names.iter().map(|name| (name.as_str(), Vec::new())).collect();
    let detail = problem(post(imports.clone(), send(archive(&entries))).await, 413, "PAYLOAD_TOO_LARGE").await;
    assert!(detail.contains("10001") && detail.contains("10000"), "{detail}");
    // A list that says it has more than there is room for.
    let mut lying = archive(&[("ann/1.jpg", photo("portrait.jpg"))]);
    let end = lying.len() - 22;
    lying[end + 8..end + 12].copy_from_slice(&[0xff; 4]);
    let answer = post(imports.clone(), send(lying)).await;
    assert!(matches!(answer.status().as_u16(), 400 | 413 | 415), "{}", answer.status());
    // A photo that says it has four gigabytes is none; one that says so of its packed bytes is read to its end and no further.
    for (field, most) in [(24, 0), (20, 1)] {
        let mut lying = archive(&[("ann/1.jpg", photo("portrait.jpg"))]);
        let central = lying.windows(4).position(|w| w == b"PK\x01\x02").unwrap();
        lying[central + field..central + field + 4].copy_from_slice(&0xffff_fff0_u32.to_le_bytes());
        let answer = post(imports.clone(), send(lying)).await;
        if answer.status() == 202 {
            let job = ended(&accepted(app, answer).await).await;
            assert!(job["results"]["enrolled"].as_u64().unwrap_or_default() <= most, "{job}");
        } else {
            assert!(matches!(answer.status().as_u16(), 400 | 413 | 415), "{}", answer.status());
        }
    }
    app.assert_unharmed().await;
}
