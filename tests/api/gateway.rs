//! The gateway: comprehensive analysis, batches, the unified detection, what it says about itself.

use base64::{Engine, prelude::BASE64_STANDARD};
use reqwest::multipart::Form;
use serde_json::{Value, json};

use crate::helpers::{app, batch, form, get, number, ok, part, photo, post, problem};

// The first curl example of the original's README.
#[tokio::test]
async fn comprehensive_without_a_flag_answers_everything() {
    let answer = ok(post(app().gateway("/analyze/comprehensive"), form("portrait.jpg")).await).await;
    assert_eq!(answer["success"], true);
    let data = &answer["data"];
    assert_eq!(data["face_detection"]["total_faces"], 1);
    assert_eq!(data["total_faces_detected"], 1);
    assert_eq!(data["quality_assessment"]["faces"].as_array().unwrap().len(), 1);
    assert_eq!(data["recognition"]["faces"].as_array().unwrap().len(), 1);
    assert_eq!(data["antispoofing"]["detections"].as_array().unwrap().len(), 1);
    assert_eq!(data["gender_age"]["predictions"].as_array().unwrap().len(), 1);
    assert_eq!(data["deepfake"]["detections"].as_array().unwrap().len(), 1);
    let face = &data["faces"][0];
    assert_eq!((&face["face_id"], &face["index"]), (&json!(0), &json!(0)));
    assert!(number(&face["detection"]["bbox"]["width"]) > 20.0);
    assert_eq!(face["gender_age"]["age"], data["gender_age"]["predictions"][0]["age"]);
    assert_eq!(face["antispoofing"]["spoof_score"], data["antispoofing"]["detections"][0]["spoof_score"]);
    assert_eq!(face["deepfake"]["deepfake_score"], data["deepfake"]["detections"][0]["deepfake_score"]);
    assert!(face["recognition"]["embedding_dimension"].as_u64().unwrap() > 100);
    assert!(!answer.to_string().contains("\"embedding\""), "vectors only when asked for");
    let metadata = &answer["metadata"];
    assert!(metadata["processing_time"].as_str().unwrap().ends_with("ms"));
    assert!(metadata["timestamp"].as_str().unwrap().ends_with('Z'));
    let used = metadata["services_used"].as_array().unwrap();
    for service in ["mediapipe", "face_quality", "face_recognition", "antispoof", "gender_age", "deepfake"] {
        assert!(used.contains(&json!(service)), "{service} not in {used:?}");
    }
    assert!(metadata["model_versions"]["gender_age"].as_str().unwrap().contains('@'));
}

#[tokio::test]
async fn comprehensive_answers_only_what_the_flags_ask_for() {
    let asked = form("portrait.jpg").text("predict_gender_age", "yes").text("assess_quality", "0");
    let answer = ok(post(app().gateway("/analyze/comprehensive"), asked).await).await;
    let keys = |value: &Value| value.as_object().unwrap().keys().cloned().collect::<Vec<_>>();
    let expected = ["face_detection", "gender_age", "total_faces_detected", "faces", "summary"];
    assert_eq!(keys(&answer["data"]), expected);
    assert_eq!(keys(&answer["data"]["faces"][0]), ["face_id", "index", "detection", "gender_age"]);
    assert_eq!(answer["data"]["summary"]["gender_distribution"], json!({ "male": 0, "female": 1 }));
}

#[tokio::test]
async fn comprehensive_takes_the_config_of_the_first_version() {
    let config = r#"{"face_service":"mtcnn","detect_spoofing":true,"include_landmarks":false}"#;
    let asked = form("portrait.jpg").text("config", config);
    let answer = ok(post(app().gateway("/analyze/comprehensive"), asked).await).await;
    let face = &answer["data"]["faces"][0];
    assert_eq!(face["detection"]["service"], "mtcnn");
    assert!(face["detection"].get("landmarks").is_none());
    assert!(face["antispoofing"]["is_real"].is_boolean());
    assert!(face.get("gender_age").is_none());
    let broken = form("portrait.jpg").text("config", "{");
    problem(post(app().gateway("/analyze/comprehensive"), broken).await, 400, "INVALID_INPUT").await;
}

#[tokio::test]
async fn embeddings_are_sent_when_asked_for_and_have_unit_norm() {
    let asked = form("portrait.jpg").text("recognize_faces", "true").text("return_embeddings", "true");
    let answer = ok(post(app().gateway("/analyze/comprehensive"), asked).await).await;
    let vector = answer["data"]["recognition"]["faces"][0]["embedding"].as_array().unwrap();
    let norm = vector.iter().map(|v| number(v).powi(2)).sum::<f64>().sqrt();
    assert!((norm - 1.0).abs() < 1e-4, "{norm}");
}

#[tokio::test]
async fn a_photo_without_faces_is_an_answer_and_no_error() {
    let answer = ok(post(app().gateway("/analyze/comprehensive"), form("no_face.jpg")).await).await;
    assert_eq!(answer["data"]["faces"], json!([]));
    assert_eq!(answer["data"]["summary"]["message"], "No faces detected");
    let whole = form("no_face.jpg").text("detect_faces", "false");
    let answer = ok(post(app().gateway("/analyze/comprehensive"), whole).await).await;
    assert!(answer["data"].get("face_detection").is_none());
    assert_eq!(answer["data"]["total_faces_detected"], 1);
}

// The third curl example of the original's README.
#[tokio::test]
async fn a_batch_is_answered_in_the_order_of_its_files() {
    let names = ["portrait.jpg", "no_face.jpg", "portrait_2.jpg"];
    let answer = ok(post(app().gateway("/analyze/batch"), batch(&names)).await).await;
    assert_eq!((&answer["total_images"], &answer["total_faces"]), (&json!(3), &json!(2)));
    assert_eq!(answer["success_rate"], 1.0);
    for (i, name) in names.iter().enumerate() {
        let result = &answer["results"][i];
        assert_eq!((&result["index"], &result["filename"]), (&json!(i), &json!(name)));
        assert_eq!(result["total_faces_detected"], i64::from(i != 1));
    }
    assert!(answer["results"][0]["faces"][0]["gender_age"]["age"].is_number());
}

#[tokio::test]
async fn a_batch_takes_the_config_of_the_first_version() {
    let config = r#"{"analysis_config":{"face_service":"mtcnn","assess_quality":false},"max_concurrent":1}"#;
    let answer = ok(post(app().gateway("/analyze/batch"), batch(&["portrait.jpg"]).text("config", config)).await).await;
    let face = answer["results"][0]["faces"][0].as_object().unwrap();
    assert_eq!(face.keys().collect::<Vec<_>>(), ["face_id", "index", "detection"]);
}

#[tokio::test]
async fn detect_faces_gives_the_answer_of_the_service_asked_for() {
    let url = || app().gateway("/detect/faces");
    assert_eq!(ok(post(url(), form("portrait.jpg")).await).await["model_info"]["detector"], "mediapipe");
    let mtcnn = ok(post(url(), form("portrait.jpg").text("service", "mtcnn")).await).await;
    assert_eq!(mtcnn["model_info"]["detector"], "mtcnn");
    let yolo = ok(post(url(), form("portrait_2.jpg").text("service", "yolo")).await).await;
    assert_eq!((&yolo["model_info"]["detector"], &yolo["total_faces"]), (&json!("yolov10n"), &json!(1)));
    let wrong =
        problem(post(url(), form("portrait.jpg").text("service", "dlib")).await, 400, "INVALID_DETECTION_METHOD");
    assert!(wrong.await.contains("mediapipe, yolo, mtcnn, ensemble"));
}

#[tokio::test]
async fn unified_detection_gives_faces_with_crops_and_quality() {
    let url = || app().gateway("/api/v1/face-detection/detect");
    let asked = form("portrait.jpg").text("detection_method", "ensemble").text("return_attributes", "true");
    let answer = ok(post(url(), asked).await).await;
    let data = &answer["data"];
    let size = photo("portrait.jpg").len();
    assert_eq!(data["image_info"], json!({ "width": 512, "height": 512, "format": "JPEG", "file_size_bytes": size }));
    let face = &data["faces"][0];
    assert_eq!((&face["face_id"], &face["detection_method"]), (&json!("face_000"), &json!("ensemble")));
    assert!((0.0..=1.0).contains(&number(&face["quality_assessment"]["overall_score"])));
    assert!(face["face_attributes"]["estimated_age"].is_number());
    for (name, expected) in [("aligned_face", Some((112, 112))), ("cropped_face", None)] {
        let jpeg = BASE64_STANDARD.decode(face[name].as_str().unwrap()).unwrap();
        let crop = image::load_from_memory(&jpeg).unwrap();
        let size = (crop.width(), crop.height());
        assert!(expected.is_none_or(|e| e == size) && size.0 > 20, "{name} is {size:?}");
    }
    for stage in ["detection_time_ms", "quality_assessment_time_ms", "attributes_time_ms", "total_time_ms"] {
        assert!(number(&data["processing_stats"][stage]) > 0.0, "{stage}");
    }
    let bare = [("return_landmarks", "0"), ("quality_assessment", "0"), ("face_alignment", "0"), ("crop_faces", "0")];
    let asked = bare.iter().fold(form("portrait.jpg"), |form, (name, value)| form.text(*name, *value));
    let answer = ok(post(url(), asked).await).await;
    for name in ["landmarks", "quality_assessment", "face_attributes", "aligned_face", "cropped_face"] {
        assert!(answer["data"]["faces"][0][name].is_null(), "{name}");
    }
}

#[tokio::test]
async fn every_detection_option_is_applied() {
    let url = || app().gateway("/api/v1/face-detection/detect");
    let count = |form: Form| async move {
        ok(post(url(), form.text("crop_faces", "0")).await).await["data"]["total_faces"].clone()
    };
    let group = || form("group.jpg").text("detection_method", "mtcnn");
    assert_eq!(count(group()).await, 5);
    assert_eq!(count(group().text("max_faces", "1")).await, 1);
    assert_eq!(count(group().text("min_face_size", "500")).await, 0);
    // Most of these faces have 19 to 28 pixels, and the original's default smallest face has 40.
    let tiny = || form("tiny_faces.jpg").text("detection_method", "mtcnn");
    let (few, many) = (count(tiny()).await, count(tiny().text("min_face_size", "12")).await);
    assert!(number(&few) <= 2.0 && number(&many) >= 8.0, "{few} and {many}");
    let crop = |enhance: &'static str| async move {
        let asked = form("portrait.jpg").text("enhance_quality", enhance);
        ok(post(url(), asked).await).await["data"]["faces"][0]["cropped_face"].clone()
    };
    assert_ne!(crop("true").await, crop("false").await);
}

#[tokio::test]
async fn unified_batch_detection_names_every_file() {
    let url = app().gateway("/api/v1/face-detection/batch-detect");
    let files = batch(&["portrait.jpg", "no_face.jpg"]).part("files", part("broken.jpg", b"no image".to_vec()));
    let answer = ok(post(url, files).await).await;
    let data = &answer["data"];
    assert_eq!(
        (&data["total_images"], &data["completed_images"], &data["failed_images"]),
        (&json!(3), &json!(2), &json!(1))
    );
    assert_eq!(data["results"][0]["total_faces"], 1);
    assert_eq!(data["results"][2]["filename"], "broken.jpg");
    assert_eq!(data["results"][2]["error"]["code"], "UNSUPPORTED_FORMAT");
}

#[tokio::test]
async fn methods_tell_which_can_run() {
    let answer = ok(get(app().gateway("/api/v1/face-detection/methods")).await).await;
    let methods = &answer["data"]["available_methods"];
    for method in ["mediapipe", "yolo", "mtcnn", "ensemble"] {
        assert_eq!(methods[method]["available"], true, "{method}");
        assert!(number(&methods[method]["response_time_ms"]) > 0.0);
    }
}

#[tokio::test]
async fn the_gateway_tells_its_health_and_services() {
    let health = ok(get(app().gateway("/health")).await).await;
    assert_eq!(health["total_services"], 7);
    assert_eq!((&health["status"], &health["unhealthy_services"]), (&json!("healthy"), &json!(0)));
    let services = ok(get(app().gateway("/services")).await).await;
    let list = services["data"]["services"].as_object().unwrap();
    assert_eq!(list.len(), 7);
    assert_eq!(list["gender_age"]["available"], true);
    // What is advertised is there: a form without a file is refused as such.
    for service in list.values() {
        let url = app().gateway(service["endpoint"].as_str().unwrap());
        assert_eq!(post(url, Form::new().text("x", "y")).await.status(), 400, "{service}");
    }
    assert_eq!(ok(get(app().gateway("/")).await).await["status"], "running");
}

#[tokio::test]
async fn services_answer_under_the_gateway_too() {
    let answer = ok(post(app().gateway("/mtcnn/detect"), form("portrait.jpg")).await).await;
    assert_eq!(answer["total_faces"], 1);
    assert_eq!(ok(get(app().gateway("/gender-age/health")).await).await["status"], "healthy");
}
