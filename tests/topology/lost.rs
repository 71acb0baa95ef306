//! Servers that are lost, and come back.

use facesocial_types::Service;
use futures_util::{StreamExt, stream};
use reqwest::Client;
use serde_json::{Value, json};

use super::{System, comprehensive};
use crate::helpers::{form, get, ok, problem};

#[tokio::test]
async fn a_replica_that_dies_under_load_loses_no_request_and_its_return_is_noticed() {
    let system = System::start().await;
    const REQUESTS: usize = 36;
    let gateway = &system.gateway;
    let ask = |n: usize| async move {
        let name = ["portrait.jpg", "portrait_2.jpg", "grey.jpg"][n % 3];
        // Nothing but liveness, so that many questions are under way when it is cut.
        let asked = form(name).text("detect_spoofing", "true").text("assess_quality", "false");
        ok(comprehensive(gateway, asked).await).await
    };
    let mut answers = stream::iter((0..REQUESTS).map(ask)).buffer_unordered(6);
    let mut answered = 0;
    while let Some(answer) = answers.next().await {
        answered += 1;
        let liveness = &answer["data"]["antispoofing"]["detections"][0];
        assert!(liveness["is_real"].is_boolean(), "the {answered}th answer: {answer}");
        if answered == 8 {
            // Some of the others are under way now.
            system.lines[&Service::Antispoof][0].cut();
        }
    }
    drop(answers);
    assert_eq!(answered, REQUESTS);
    system.wait_for(Service::Antispoof, |states| states == ["ejected", "healthy"]).await;
    let replicas = system.replicas(Service::Antispoof).await;
    assert!(replicas[0]["ejected_until"].as_str().is_some_and(|t| t.ends_with('Z')), "{replicas:?}");
    assert!(replicas[0]["reason"].as_str().is_some_and(|r| !r.is_empty()), "{replicas:?}");
    assert!(replicas[0]["failed"].as_u64() > Some(0), "it was cut while it was asked: {replicas:?}");

    system.lines[&Service::Antispoof][0].mend();
    system.wait_for(Service::Antispoof, |states| states == ["healthy", "healthy"]).await;
    let before = system.replicas(Service::Antispoof).await[0]["answered"].as_u64().unwrap();
    for n in 0..4 {
        ask(n).await;
    }
    assert!(system.replicas(Service::Antispoof).await[0]["answered"].as_u64().unwrap() > before, "it is asked again");
}

#[tokio::test]
async fn without_any_server_for_a_service_the_rest_is_answered_and_says_so() {
    let system = System::start().await;
    system.cut(Service::Antispoof);
    let asked = || system.gateway.gateway("/analyze/comprehensive");
    // One that may be kept, unlike those of the other tests: it must not be.
    let ask = || async { ok(Client::new().post(asked()).multipart(form("portrait.jpg")).send().await.unwrap()).await };
    for _ in 0..2 {
        let answer = ask().await;
        let data = &answer["data"];
        assert_eq!(data["antispoofing"]["status"], "unavailable", "{answer}");
        let reason = data["antispoofing"]["reason"].as_str().unwrap();
        assert!(reason.contains("antispoof") && !reason.contains("127.0.0.1"), "{reason}");
        assert_eq!(data["faces"][0]["antispoofing"]["status"], "unavailable");
        assert_eq!(data["gender_age"]["predictions"].as_array().unwrap().len(), 1);
        assert_eq!(data["recognition"]["faces"].as_array().unwrap().len(), 1);
        assert_eq!(data["deepfake"]["detections"].as_array().unwrap().len(), 1);
        assert!(data["summary"].get("real_faces").is_none(), "{answer}");
        let metadata = &answer["metadata"];
        assert!(!metadata["services_used"].as_array().unwrap().contains(&json!("antispoof")), "{answer}");
        assert!(metadata["model_versions"].get("antispoofing").is_none(), "{answer}");
        assert_eq!(metadata["cached"], false);
    }
    system.wait_for(Service::Antispoof, |states| states == ["ejected", "ejected"]).await;
    assert_eq!(get(system.gateway.gateway("/readyz")).await.status(), 200);
    let health = ok(get(system.gateway.gateway("/health")).await).await;
    assert_eq!((&health["status"], &health["unhealthy_services"]), (&json!("degraded"), &json!(1)));
    // Its own path has nothing else to answer.
    let url = system.gateway.gateway("/antispoof/detect");
    let alone = Client::new().post(url).multipart(form("portrait.jpg")).send().await.unwrap();
    assert!(problem(alone, 503, "SERVICE_UNAVAILABLE").await.contains("antispoof"));
    // A photo without a face, of which nothing would be asked, tells it too.
    let none = ok(system.comprehensive(form("no_face.jpg")).await).await;
    assert_eq!(none["data"]["antispoofing"]["status"], "unavailable", "{none}");

    system.mend(Service::Antispoof);
    system.wait_for(Service::Antispoof, |states| states == ["healthy", "healthy"]).await;
    let answer = ask().await;
    assert_eq!(answer["metadata"]["cached"], false, "what was missing was not kept");
    assert!(answer["data"]["antispoofing"]["detections"][0]["is_real"].is_boolean(), "{answer}");
    assert_eq!(ask().await["metadata"]["cached"], true, "what is whole is");
}

#[tokio::test]
async fn detectors_stand_in_for_each_other_until_the_last_is_lost() {
    let system = System::start().await;
    let ensemble = || form("group.jpg").text("face_service", "ensemble").text("assess_quality", "false");
    let whole = ok(system.comprehensive(ensemble()).await).await;
    let detector = |answer: &Value| answer["metadata"]["model_versions"]["detector"].as_str().unwrap().to_owned();
    assert!(whole["data"]["face_detection"].get("unavailable").is_none(), "{whole}");

    system.cut(Service::Mtcnn);
    let part = ok(system.comprehensive(ensemble()).await).await;
    assert_eq!(part["data"]["face_detection"]["unavailable"][0]["service"], "mtcnn", "{part}");
    assert!(part["data"]["total_faces_detected"].as_u64() >= Some(4), "{part}");
    assert!(detector(&whole).contains("mtcnn@") && !detector(&part).contains("mtcnn@"), "{}", detector(&part));
    system.wait_for(Service::Mtcnn, |states| states == ["ejected"]).await;
    let alone = system.comprehensive(form("group.jpg").text("face_service", "mtcnn")).await;
    problem(alone, 503, "SERVICE_UNAVAILABLE").await;

    system.cut(Service::Mediapipe);
    let part = ok(system.comprehensive(ensemble()).await).await;
    assert!(detector(&part).starts_with("yolov10n"), "{}", detector(&part));
    assert!(part["data"]["total_faces_detected"].as_u64() >= Some(4), "{part}");
    assert_eq!(get(system.gateway.gateway("/readyz")).await.status(), 200);

    system.cut(Service::Yolo);
    let none = system.comprehensive(ensemble()).await;
    let retry_after = none.headers().get("retry-after").and_then(|v| v.to_str().ok()?.parse::<u64>().ok());
    assert!(retry_after >= Some(1), "{retry_after:?}");
    problem(none, 503, "SERVICE_UNAVAILABLE").await;
    system.wait_for(Service::Yolo, |states| states == ["ejected"]).await;
    system.wait_for(Service::Mediapipe, |states| states == ["ejected"]).await;
    problem(get(system.gateway.gateway("/readyz")).await, 503, "SERVICE_UNAVAILABLE").await;

    for service in [Service::Mediapipe, Service::Yolo, Service::Mtcnn] {
        system.mend(service);
    }
    for service in [Service::Mediapipe, Service::Yolo, Service::Mtcnn] {
        system.wait_for(service, |states| states == ["healthy"]).await;
    }
    assert_eq!(detector(&ok(system.comprehensive(ensemble()).await).await), detector(&whole));
}
