//! The figures, asked of a driver's library made for the test.

use std::{path::Path, process::Command, thread};

use facesocial_gpu::{FRESH_FOR, Gpu, Monitor, Unavailable};

/// Builds the library from `fake_nvml.c`.
fn fake_driver(dir: &Path) -> std::path::PathBuf {
    let library = dir.join("libnvidia-ml.so.1");
    let source = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fake_nvml.c");
    // The compiler that also links every Rust program here.
    let built = Command::new("cc").args(["-shared", "-fPIC", "-o"]).arg(&library).arg(source).status().unwrap();
    assert!(built.success(), "{built}");
    library
}

#[cfg(target_os = "linux")]
#[test]
fn what_the_driver_tells_is_told() {
    let dir = tempfile::tempdir().unwrap();
    let monitor = Monitor::open(Some(fake_driver(dir.path()).as_os_str())).unwrap();
    let figures = monitor.read().unwrap();
    assert_eq!((figures.driver.as_deref(), figures.cuda.as_deref()), (Some("580.65.06"), Some("13.2")));
    let [first, second] = &figures.devices[..] else { panic!("{figures:?}") };
    let expected = Gpu {
        index: 0,
        name: Some("NVIDIA Test 3060".to_owned()),
        uuid: Some("GPU-0".to_owned()),
        memory_total_mb: Some(6144),
        memory_used_mb: Some(1500),
        process_memory_used_mb: Some(384),
        utilization_percent: Some(1),
        temperature_celsius: Some(61),
        power_watts: None,
        fault: None,
    };
    assert_eq!(first, &expected);
    assert_eq!((second.index, &second.name, second.memory_used_mb), (1, &None, None));
    assert!(second.fault.as_deref().is_some_and(|f| f.contains("bus")), "{second:?}");
    assert_eq!((figures.process_memory_used_mb(), figures.any_answers()), (Some(384), true));
    let json = serde_json::to_value(&*figures).unwrap();
    assert_eq!(json["devices"][0]["memory_used_mb"], 1500);
    assert!(json["devices"][0]["power_watts"].is_null());

    // The driver is not asked again at once, and is after a while.
    assert_eq!(monitor.read().unwrap().devices[0].utilization_percent, Some(1));
    thread::sleep(FRESH_FOR);
    assert_eq!(monitor.read().unwrap().devices[0].utilization_percent, Some(2));
}

#[test]
fn without_the_library_there_is_a_reason_and_a_remedy() {
    let dir = tempfile::tempdir().unwrap();
    let reason = Monitor::open(Some(dir.path().join("none.so").as_os_str())).err().unwrap();
    assert_eq!(reason, Unavailable::NoDriver);
    assert!(reason.to_string().contains("install the driver"), "{reason}");
}

#[test]
fn the_machine_itself_answers_or_says_why_not() {
    match facesocial_gpu::read() {
        Ok(figures) => assert!(!figures.devices.is_empty()),
        Err(reason) => facesocial_testkit::not_run(&format!("the figures of a real card: {reason}"), ""),
    }
}
