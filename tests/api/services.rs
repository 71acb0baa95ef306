//! The seven services on their own ports.

use base64::{Engine, prelude::BASE64_STANDARD};
use facesocial_types::Service;
use reqwest::{Client, multipart::Form};
use serde_json::{Value, json};

use crate::helpers::{app, app_with, batch, form, get, number, ok, part, photo, post, problem};

/// Every coordinate of a box lies where a face of the photo can be.
fn assert_inside(bounding_box: &Value, width: f64, height: f64) {
    let of = |name: &str| number(&bounding_box[name]);
    assert!(of("width") > 10.0 && of("height") > 10.0, "{bounding_box}");
    let (x, y) = (of("x") + of("width") / 2.0, of("y") + of("height") / 2.0);
    assert!((0.0..width).contains(&x) && (0.0..height).contains(&y), "{bounding_box}");
}

// The second curl example of the original's README.
#[tokio::test]
async fn mediapipe_detects_one_face_in_a_portrait() {
    let found = ok(post(app().service(Service::Mediapipe, "/detect"), form("portrait.jpg")).await).await;
    assert_eq!((&found["success"], &found["total_faces"]), (&json!(true), &json!(1)), "{found}");
    assert_eq!(found["image_info"], json!({ "width": 512, "height": 512, "channels": 3 }));
    assert_eq!(found["model_info"]["detector"], "mediapipe");
    let face = &found["faces"][0];
    assert_eq!((&face["face_id"], &face["face_index"]), (&json!("mp_face_0"), &json!(0)));
    assert_inside(&face["bounding_box"], 512.0, 512.0);
    assert_eq!(face["bbox"].as_array().unwrap().len(), 4);
    assert!((0.5..=1.0).contains(&number(&face["confidence"])));
    assert!((0.0..=1.0).contains(&number(&face["quality_score"])));
    assert_eq!(face["landmarks"]["points"].as_array().unwrap().len(), 6);
}

#[tokio::test]
async fn mediapipe_takes_base64_bare_and_as_a_data_url() {
    let bare = BASE64_STANDARD.encode(photo("portrait.jpg"));
    let url = app().service(Service::Mediapipe, "/detect_base64");
    for image in [bare.clone(), format!("data:image/jpeg;base64,{bare}")] {
        let answer = Client::new().post(&url).json(&json!({ "image": image })).send().await.unwrap();
        assert_eq!(ok(answer).await["total_faces"], 1);
    }
    let answer = Client::new().post(&url).json(&json!({ "image": "!!" })).send().await.unwrap();
    assert!(problem(answer, 400, "INVALID_INPUT").await.contains("base64"));
    let answer = Client::new().post(&url).json(&json!({})).send().await.unwrap();
    assert!(problem(answer, 400, "INVALID_INPUT").await.contains("missing field `image`"));
    let answer = Client::new().post(&url).body("{}").send().await.unwrap();
    problem(answer, 415, "UNSUPPORTED_MEDIA_TYPE").await;
}

#[tokio::test]
async fn mediapipe_tells_its_configuration() {
    let config = ok(get(app().service(Service::Mediapipe, "/config")).await).await;
    assert_eq!(config["min_detection_confidence"], 0.5);
    assert!(config["capabilities"]["supported_formats"].as_array().unwrap().contains(&json!("jpeg")));
}

#[tokio::test]
async fn mtcnn_gives_five_landmarks_in_their_places() {
    let found = ok(post(app().service(Service::Mtcnn, "/detect"), form("portrait.jpg")).await).await;
    let face = &found["faces"][0];
    assert_inside(face, 512.0, 512.0);
    assert_eq!(face["detection_method"], "mtcnn");
    assert_eq!(face["landmarks"]["type"], "5_point");
    let point = |name: &str| {
        let points = face["landmarks"]["points"].as_array().unwrap();
        let point = points.iter().find(|p| p["name"] == name).unwrap_or_else(|| panic!("no {name} in {face}"));
        (number(&point["x"]), number(&point["y"]))
    };
    assert!(point("left_eye").0 < point("right_eye").0);
    assert!(point("left_eye").1 < point("nose").1 && point("nose").1 < point("left_mouth").1);
    assert!(point("left_mouth").0 < point("right_mouth").0);
}

#[tokio::test]
async fn options_of_a_detector_are_applied() {
    let url = || app().service(Service::Mtcnn, "/detect");
    let count = |answer: Value| answer["faces"].as_array().unwrap().len();
    assert_eq!(count(ok(post(url(), form("group.jpg")).await).await), 5);
    let two = ok(post(url(), form("group.jpg").text("max_faces", "2")).await).await;
    assert_eq!(count(two.clone()), 2);
    assert!(number(&two["faces"][0]["area"]) >= number(&two["faces"][1]["area"]), "largest first");
    let huge = form("group.jpg").text("min_face_size", "600");
    assert_eq!(count(ok(post(url(), huge).await).await), 0);
    let sure = ok(post(url(), form("tiny_faces.jpg").text("detection_confidence", "0.99")).await).await;
    for face in sure["faces"].as_array().unwrap() {
        assert!(number(&face["confidence"]) >= 0.99);
    }
}

#[tokio::test]
async fn turned_photos_are_found_upright() {
    for name in ["rotated_exif_3.jpg", "rotated_exif_6.jpg", "rotated_exif_8.jpg", "grey.jpg"] {
        let found = ok(post(app().service(Service::Mediapipe, "/detect"), form(name)).await).await;
        assert_eq!(found["total_faces"], 1, "{name}: {found}");
    }
}

#[tokio::test]
async fn batches_keep_the_order_of_the_files() {
    for service in [Service::Mediapipe, Service::Mtcnn] {
        let names = ["no_face.jpg", "portrait.jpg", "portrait_2.jpg"];
        let answer = ok(post(app().service(service, "/detect/batch"), batch(&names)).await).await;
        assert_eq!(answer["summary"]["total_images"], 3);
        assert_eq!(answer["summary"]["processed_images"], 3);
        for (i, (name, faces)) in names.iter().zip([0, 1, 1]).enumerate() {
            let result = &answer["batch_results"][i];
            assert_eq!((&result["image_id"], &result["filename"]), (&json!(i), &json!(name)));
            assert_eq!(result["total_faces"], faces, "{service} {name}");
        }
    }
}

#[tokio::test]
async fn antispoof_answers_for_found_faces_and_for_given_boxes() {
    let url = || app().service(Service::Antispoof, "/detect");
    let answer = ok(post(url(), form("portrait.jpg")).await).await;
    assert_eq!(answer["total_faces"], 1);
    let detection = &answer["detections"][0];
    assert_eq!(detection["face_id"], 0);
    assert!(detection["is_real"].is_boolean());
    let (confidence, spoof) = (number(&detection["confidence"]), number(&detection["spoof_score"]));
    assert!((confidence - spoof.max(1.0 - spoof)).abs() < 1e-3, "{detection}");
    assert_eq!(detection["is_real"].as_bool().unwrap(), detection["decision"] == "live");
    let boxes = r#"[{"x":170,"y":60,"width":100,"height":130},{"x":180,"y":70,"width":90,"height":120}]"#;
    let answer = ok(post(url(), form("portrait.jpg").text("face_boxes", boxes)).await).await;
    assert_eq!(answer["detections"].as_array().unwrap().len(), 2);
    let none = ok(post(url(), form("portrait.jpg").text("face_boxes", "[]")).await).await;
    assert_eq!(none["total_faces"], 0);
    let answer = ok(post(app().service(Service::Antispoof, "/detect/batch"), batch(&["portrait.jpg"; 2])).await).await;
    assert_eq!(answer["total_faces_processed"], 2);
    let counted = number(&answer["total_real_faces"]) + number(&answer["total_spoofed_faces"]);
    assert_eq!(counted, 2.0);
}

#[tokio::test]
async fn a_photo_without_a_face_counts_as_one_face_for_a_tight_crop() {
    let answer = ok(post(app().service(Service::GenderAge, "/predict"), form("no_face.jpg")).await).await;
    assert_eq!(answer["total_faces"], 1);
    assert_eq!(answer["predictions"][0]["bbox"], json!({ "x": 0.0, "y": 0.0, "width": 600.0, "height": 400.0 }));
}

#[tokio::test]
async fn gender_age_is_plausible_on_portraits_of_two_grown_people() {
    for name in ["portrait.jpg", "portrait_2.jpg"] {
        let answer = ok(post(app().service(Service::GenderAge, "/predict"), form(name)).await).await;
        let person = &answer["predictions"][0];
        let age = number(&person["age"]);
        assert!((20.0..=90.0).contains(&age), "{name}: {person}");
        assert!(person["gender"] == "female" || person["gender"] == "male");
        assert!((0.5..=1.0).contains(&number(&person["gender_confidence"])));
        assert!((0.0..=1.0).contains(&number(&person["age_confidence"])));
        let range = &person["age_range"];
        assert!(number(&range["min"]) <= age && age <= number(&range["max"]) + 1.0, "{person}");
        assert!(person["age_group"].is_string());
    }
    let answer = ok(post(app().service(Service::GenderAge, "/predict/batch"), batch(&["portrait.jpg"; 2])).await).await;
    assert_eq!(answer["gender_distribution"], json!({ "male": 0, "female": 2 }), "one woman, twice");
    let ages = answer["age_distribution"].as_object().unwrap();
    assert_eq!(ages.values().map(number).sum::<f64>(), 2.0);
}

#[tokio::test]
async fn compare_tells_the_same_person_from_another() {
    let compare = |a: &'static str, b: &'static str| async move {
        let pair = Form::new().part("file1", part(a, photo(a))).part("file2", part(b, photo(b)));
        ok(post(app().service(Service::Recognition, "/compare"), pair).await).await
    };
    let same = compare("portrait.jpg", "rotated_exif_6.jpg").await;
    let other = compare("portrait.jpg", "portrait_2.jpg").await;
    assert_eq!(same["is_same_person"], true, "{same}");
    assert_eq!(other["is_same_person"], false, "{other}");
    assert!(number(&same["similarity"]) > number(&other["similarity"]));
    let as_decided = number(&other["similarity"]) >= number(&other["threshold"]);
    assert!(!as_decided && other["model"].is_string());
    let image = |name| BASE64_STANDARD.encode(photo(name));
    let body = json!({ "image1": image("portrait.jpg"), "image2": image("portrait_2.jpg") });
    let url = app().service(Service::Recognition, "/compare");
    let answer = ok(Client::new().post(url).json(&body).send().await.unwrap()).await;
    assert_eq!(answer["similarity"], other["similarity"]);
}

#[tokio::test]
async fn compare_needs_a_face_in_both_photos() {
    let pair = |b: &str| Form::new().part("file1", part("a", photo("portrait.jpg"))).part("file2", part(b, photo(b)));
    let url = || app().service(Service::Recognition, "/compare");
    assert!(problem(post(url(), pair("no_face.jpg")).await, 422, "NO_FACE").await.contains("image 1"));
    let one = Form::new().part("file1", part("a", photo("portrait.jpg")));
    assert!(problem(post(url(), one).await, 400, "MISSING_FIELD").await.contains("file2"));
}

#[tokio::test]
async fn services_without_weights_say_so() {
    let (_folder, app) = app_with(&["blazeface-short", "blazeface-full", "mtcnn"], &[Service::Yolo, Service::Deepfake]);
    app.ready().await;
    for (service, path) in [(Service::Yolo, "/detect"), (Service::Deepfake, "/detect")] {
        let detail =
            problem(post(app.service(service, path), form("portrait.jpg")).await, 503, "MODEL_UNAVAILABLE").await;
        assert!(detail.starts_with(service.as_str()), "{detail}");
        assert!(detail.contains("facesocial models pull"), "{detail}");
        let answer = post(app.service(service, "/detect/batch"), batch(&["portrait.jpg"])).await;
        problem(answer, 503, "MODEL_UNAVAILABLE").await;
        let health = get(app.service(service, "/health")).await;
        assert_eq!(health.status(), 503);
        let health: Value = health.json().await.unwrap();
        assert_eq!(health["status"], "unavailable");
        assert_eq!(health["model_loaded"], false);
    }
    // Those that need no weights of their own go on: the analysis says what is missing in its place.
    let answer = ok(post(app.gateway("/analyze/comprehensive"), form("portrait.jpg")).await).await;
    assert_eq!(answer["data"]["total_faces_detected"], 1);
    assert_eq!(answer["data"]["deepfake"]["status"], "unavailable");
    assert!(answer["data"]["deepfake"]["reason"].as_str().unwrap().contains("models pull"), "{answer}");
    app.stopper.stop();
}

#[tokio::test]
async fn each_service_tells_its_health_and_its_paths() {
    for &service in Service::ALL {
        let health = ok(get(app().service(service, "/health")).await).await;
        assert_eq!(health["status"], "healthy", "{service}: {health}");
        assert!(health["model"].as_str().unwrap().contains('@'), "{health}");
        assert!(health["uptime"].is_number() && health["memory_usage"].is_object());
        let root = ok(get(app().service(service, "/")).await).await;
        assert_eq!(root["status"], "running");
    }
}
