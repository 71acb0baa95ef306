//! Live video over a WebSocket, by a client of another make.

use std::{io::Cursor, time::Duration};

use facesocial::config::{AccessConfig, LiveConfig, Role, Secret};
use facesocial_store::Role as Rank;
use facesocial_types::Service;
use futures_util::{SinkExt, StreamExt};
use image::{DynamicImage, ImageFormat};
use reqwest::Method;
use serde_json::{Value, json};
use tokio::{net::TcpStream, time::timeout};
use tokio_tungstenite::{
    MaybeTlsStream, WebSocketStream, connect_async,
    tungstenite::{
        Error, Message,
        client::IntoClientRequest,
        http::{HeaderName, HeaderValue},
        protocol::frame::coding::CloseCode,
    },
};

use crate::{
    accounts::{SECRET, Secured, created, secured, seed},
    helpers::{TestApp, app, config_with, form, get, number, photo, post, problem, spawn_app},
};

/// Networks of an unoptimised build on a busy machine.
const PATIENCE: Duration = Duration::from_secs(120);

/// A client.
struct Live(WebSocketStream<MaybeTlsStream<TcpStream>>);

impl Live {
    /// Connects and reads what the server says first.
    async fn open(app: &TestApp) -> (Self, Value) {
        let mut live = Self(connect(app, &[]).await.unwrap());
        let hello = live.hear().await;
        assert_eq!(hello["type"], "hello", "{hello}");
        (live, hello)
    }

    async fn open_with(app: &TestApp, header: (&'static str, &str)) -> (Self, Value) {
        let mut live = Self(connect(app, &[header]).await.unwrap());
        let hello = live.hear().await;
        (live, hello)
    }

    async fn say(&mut self, message: Value) {
        self.0.send(Message::text(message.to_string())).await.unwrap();
    }

    async fn frame(&mut self, bytes: Vec<u8>) {
        self.0.send(Message::binary(bytes)).await.unwrap();
    }

    /// The next message of text.
    async fn hear(&mut self) -> Value {
        loop {
            match timeout(PATIENCE, self.0.next()).await.expect("the server says nothing") {
                Some(Ok(Message::Text(text))) => return serde_json::from_str(&text).unwrap(),
                Some(Ok(Message::Ping(_) | Message::Pong(_))) => {}
                other => panic!("{other:?}"),
            }
        }
    }

    /// The next message of text, which must be of this type.
    async fn hear_of(&mut self, kind: &str) -> Value {
        let message = self.hear().await;
        assert_eq!(message["type"], kind, "{message}");
        message
    }

    /// The next message, an error of this code.
    async fn hear_error(&mut self, code: &str) -> Value {
        let message = self.hear_of("error").await;
        assert_eq!(message["code"], code, "{message}");
        assert_eq!(message["retryable"].as_bool(), Some(!message["retry_after"].is_null()), "{message}");
        message
    }

    async fn start(&mut self, options: Value) -> Value {
        let mut message = json!({ "type": "start" });
        message.as_object_mut().unwrap().extend(options.as_object().unwrap().clone());
        self.say(message).await;
        self.hear_of("started").await
    }

    /// Sends a frame and waits for its answer.
    async fn ask(&mut self, bytes: Vec<u8>) -> Value {
        self.frame(bytes).await;
        self.hear_of("frame").await
    }

    /// Reads on until the server closes; gives its code.
    async fn closed(&mut self) -> CloseCode {
        loop {
            match timeout(PATIENCE, self.0.next()).await.expect("the server does not close") {
                Some(Ok(Message::Close(Some(close)))) => return close.code,
                Some(Ok(Message::Text(_) | Message::Ping(_) | Message::Pong(_))) => {}
                other => panic!("{other:?}"),
            }
        }
    }

    /// The server ends the connection because of a message's size. It reads no further, so that its reason may be lost.
    async fn cut_off(&mut self) {
        match timeout(PATIENCE, self.0.next()).await.expect("the server does not close") {
            Some(Ok(Message::Close(Some(close)))) => assert_eq!(close.code, CloseCode::Size),
            Some(Err(_)) | None => {}
            other => panic!("{other:?}"),
        }
    }
}

async fn connect(
    app: &TestApp,
    headers: &[(&'static str, &str)],
) -> Result<WebSocketStream<MaybeTlsStream<TcpStream>>, Error> {
    let mut request = format!("ws://{}/api/v1/live", app.address(Role::Gateway)).into_client_request().unwrap();
    for (name, value) in headers {
        request.headers_mut().insert(HeaderName::from_static(name), HeaderValue::from_str(value).unwrap());
    }
    connect_async(request).await.map(|(socket, _)| socket)
}

/// The status that refuses a handshake, with the problem's code.
async fn refused(app: &TestApp, headers: &[(&'static str, &str)]) -> (u16, String) {
    match connect(app, headers).await {
        Err(Error::Http(response)) => {
            let body: Value =
                serde_json::from_slice(response.body().as_deref().unwrap_or_default()).unwrap_or_default();
            (response.status().as_u16(), body["code"].as_str().unwrap_or_default().to_owned())
        }
        Err(other) => panic!("{other}"),
        Ok(_) => panic!("not refused"),
    }
}

/// The portrait, moved by so many pixels to the left.
fn moved(pixels: u32) -> Vec<u8> {
    let portrait = image::load_from_memory(&photo("portrait.jpg")).unwrap();
    written(&portrait.crop_imm(pixels, 0, 400, 400), ImageFormat::Jpeg)
}

fn written(image: &DynamicImage, format: ImageFormat) -> Vec<u8> {
    let mut bytes = Cursor::new(Vec::new());
    image.write_to(&mut bytes, format).unwrap();
    bytes.into_inner()
}

#[tokio::test]
async fn a_face_keeps_its_track_while_it_moves_and_votes_add_up() {
    let (mut live, hello) = Live::open(app()).await;
    assert_eq!((&hello["authenticated"], &hello["version"]), (&json!(true), &json!(1)));
    let started =
        live.start(json!({ "analyses": ["antispoof", "gender_age", "recognition"], "detector": "mtcnn" })).await;
    assert_eq!(started["analyses"], json!(["antispoof", "gender_age", "recognition"]));
    let mut last = Value::Null;
    for n in 0..7 {
        live.say(json!({ "type": "frame", "seq": 100 + n })).await;
        let answer = live.ask(moved(8 * n)).await;
        assert_eq!((&answer["frame"], &answer["seq"]), (&json!(n + 1), &json!(100 + n)), "{answer}");
        assert_eq!((&answer["width"], &answer["height"]), (&json!(400), &json!(400)));
        assert!(number(&answer["took_ms"]) > 0.0 && answer["dropped"] == 0, "{answer}");
        let tracks = answer["tracks"].as_array().unwrap();
        // A face that is seen once is not told yet.
        assert_eq!(tracks.len(), usize::from(n > 0), "{answer}");
        assert!(tracks.iter().all(|track| track["id"] == 1 && track["visible"] == true), "{answer}");
        assert!(!answer.to_string().contains("embedding"));
        last = answer;
    }
    let track = &last["tracks"][0];
    assert_eq!(track["frames"], 7);
    // It ran from the second frame on; on a machine so busy that scores grow old meanwhile, fewer count.
    assert!((1.0..=6.0).contains(&number(&track["liveness"]["frames"])), "{track}");
    let decision = track["liveness"]["decision"].as_str().unwrap();
    assert!(["live", "spoof", "uncertain"].contains(&decision));
    assert!((0.0..=1.0).contains(&number(&track["liveness"]["score"])));
    assert!((20.0..70.0).contains(&number(&track["gender_age"]["age"])), "{track}");
    assert!(number(&track["best"]["quality"]) > 0.3 && track["landmarks"]["points"].as_array().unwrap().len() == 5);
    // Nobody to be seen: the track is told as hidden.
    let empty = live.ask(photo("no_face.jpg")).await;
    assert_eq!((&empty["faces"], &empty["tracks"][0]["visible"]), (&json!(0), &json!(false)), "{empty}");
    live.say(json!({ "type": "stop" })).await;
    let counts = &live.hear_of("stopped").await["counts"];
    assert_eq!(*counts, json!({ "received": 8, "analysed": 8, "dropped": 0, "failed": 0 }));
    // Tracks of before are forgotten.
    live.start(json!({ "analyses": [] })).await;
    let anew = live.ask(moved(0)).await;
    assert_eq!((&anew["tracks"], &anew["frame"]), (&json!([]), &json!(9)));
    assert!(live.ask(moved(0)).await["tracks"][0].get("liveness").is_none(), "what was not asked for is not told");
}

#[tokio::test]
async fn who_it_is_is_decided_over_several_frames() {
    let api = app().gateway("/api/v1/collections");
    let body = json!({ "name": "live-crew" });
    created(reqwest::Client::new().post(&api).json(&body).send().await.unwrap()).await;
    let enrol = form("portrait.jpg").text("external_id", "eileen").text("name", "Eileen Collins");
    created(post(format!("{api}/live-crew/faces"), enrol).await).await;
    let (mut live, _) = Live::open(app()).await;
    let started = live.start(json!({ "analyses": [], "collection": "live-crew", "detector": "mtcnn" })).await;
    assert_eq!((&started["collection"], &started["false_accept_rate"]), (&json!("live-crew"), &json!(0.001)));
    let mut decided = Vec::new();
    for n in 0..5 {
        let answer = live.ask(moved(4 * n)).await;
        let identity = &answer["tracks"][0]["identity"];
        decided.push(identity["person"]["external_id"].as_str().map(str::to_owned));
        if n > 0 {
            assert_eq!(identity["leading"]["person"]["external_id"], "eileen", "{answer}");
        }
    }
    let eileen = Some("eileen".to_owned());
    assert_eq!(decided, [None, None, None, eileen.clone(), eileen]);
    // A stranger is a ballot for nobody.
    live.say(json!({ "type": "stop" })).await;
    live.hear_of("stopped").await;
    live.start(json!({ "collection": "live-crew", "analyses": [], "detector": "mtcnn" })).await;
    for _ in 0..3 {
        let answer = live.ask(photo("portrait_2.jpg")).await;
        assert!(answer["tracks"].as_array().unwrap().iter().all(|t| t["identity"]["person"].is_null()), "{answer}");
    }
}

#[tokio::test]
async fn a_flood_of_frames_is_thinned_out_and_the_connection_stays_responsive() {
    let (mut live, _) = Live::open(app()).await;
    live.start(json!({ "analyses": [], "detector": "mediapipe" })).await;
    for n in 0..60 {
        live.say(json!({ "type": "frame", "seq": n })).await;
        live.frame(photo("portrait.jpg")).await;
    }
    live.0.send(Message::Ping("still there?".into())).await.unwrap();
    let (mut answered, mut pong) = (Vec::new(), false);
    // The newest frame is never the one that is dropped.
    while answered.last() != Some(&59) {
        match timeout(PATIENCE, live.0.next()).await.unwrap().unwrap().unwrap() {
            Message::Text(text) => {
                let answer: Value = serde_json::from_str(&text).unwrap();
                assert_eq!(answer["type"], "frame", "{answer}");
                answered.push(answer["seq"].as_u64().unwrap());
            }
            Message::Pong(bytes) => pong = bytes == "still there?",
            other => panic!("{other:?}"),
        }
    }
    assert!(pong && answered.is_sorted() && answered.len() < 60, "{answered:?}");
    live.say(json!({ "type": "stop" })).await;
    let counts = live.hear_of("stopped").await["counts"].clone();
    let count = |name: &str| counts[name].as_u64().unwrap();
    assert_eq!((count("received"), count("failed"), count("analysed")), (60, 0, answered.len() as u64));
    assert_eq!(count("dropped"), 60 - answered.len() as u64, "each frame is accounted for");
}

#[tokio::test]
async fn frames_are_analysed_no_more_often_than_asked() {
    let (mut live, _) = Live::open(app()).await;
    let started = std::time::Instant::now();
    live.start(json!({ "analyses": [], "detector": "mediapipe", "max_fps": 1 })).await;
    for _ in 0..3 {
        live.ask(photo("no_face.jpg")).await;
    }
    assert!(started.elapsed() >= Duration::from_secs(2), "{:?}", started.elapsed());
}

#[tokio::test]
async fn what_cannot_be_used_is_answered_and_the_connection_lives_on() {
    let (mut live, _) = Live::open(app()).await;
    live.frame(photo("no_face.jpg")).await;
    assert_eq!(live.hear_error("INVALID_INPUT").await["frame"], 1);
    for wrong in ["", "no JSON", r#"{"type":"dance"}"#, r#"{"type":"start","detector":"eyes"}"#, r#"{"type":"stop"}"#] {
        live.0.send(Message::text(wrong)).await.unwrap();
        live.hear_error("INVALID_INPUT").await;
    }
    live.say(json!({ "type": "start", "analyses": ["deepfake"] })).await;
    live.hear_error("INVALID_INPUT").await;
    live.say(json!({ "type": "start", "collection": "nowhere-live" })).await;
    live.hear_error("COLLECTION_NOT_FOUND").await;
    live.start(json!({ "analyses": [], "detector": "mediapipe" })).await;
    live.say(json!({ "type": "start" })).await;
    live.hear_error("INVALID_INPUT").await;

    let whole = photo("portrait.jpg");
    let bitmap = written(&image::load_from_memory(&whole).unwrap(), ImageFormat::Bmp);
    let broken: [(Vec<u8>, &str); 4] = [
        (Vec::new(), "EMPTY_FILE"),
        (b"no image at all".to_vec(), "UNSUPPORTED_FORMAT"),
        (bitmap, "UNSUPPORTED_FORMAT"),
        (whole[..whole.len() / 2].to_vec(), "CORRUPT_IMAGE"),
    ];
    for (n, (bytes, code)) in broken.into_iter().enumerate() {
        live.say(json!({ "type": "frame", "seq": n })).await;
        live.frame(bytes).await;
        assert_eq!(live.hear_error(code).await["seq"], n);
    }
    let good = live.ask(whole).await;
    assert_eq!((&good["faces"], &good["frame"]), (&json!(1), &json!(6)), "{good}");
}

#[tokio::test]
async fn what_is_too_large_ends_the_connection() {
    let (_folder, mut config) = config_with(&["yolov10n-face"], &[Service::Yolo]);
    config.limits.image_bytes = 50_000;
    let app = spawn_app(config);
    app.ready().await;
    let (mut live, hello) = Live::open(&app).await;
    assert_eq!(hello["limits"]["image_bytes"], 50_000);
    live.start(json!({ "analyses": [], "detector": "yolo" })).await;
    live.0.send(Message::binary(vec![0; 60_000])).await.ok();
    live.cut_off().await;
}

#[tokio::test]
async fn a_busy_server_says_when_to_go_on_and_does_not_close() {
    let (_folder, mut config) = config_with(&["yolov10n-face"], &[Service::Yolo]);
    config.limits.upload_memory = 40_000;
    let app = spawn_app(config);
    app.ready().await;
    let (mut live, _) = Live::open(&app).await;
    live.start(json!({ "analyses": [], "detector": "yolo" })).await;
    let large = photo("portrait.jpg");
    assert!(large.len() > 40_000);
    live.frame(large).await;
    let busy = live.hear_error("OVERLOADED").await;
    assert!(number(&busy["retry_after"]) >= 1.0 && busy["frame"] == 1, "{busy}");
    let small = image::load_from_memory(&photo("portrait.jpg")).unwrap().thumbnail(160, 160);
    assert_eq!(live.ask(written(&small, ImageFormat::Jpeg)).await["frame"], 2);
}

#[tokio::test]
async fn nothing_is_analysed_before_it_is_known_who_asks() {
    let server = secured(|_| {}).await;
    let unknown = async || {
        let (live, hello) = Live::open(&server.app).await;
        assert_eq!(hello["authenticated"], false);
        live
    };
    // A frame, a start, a wrong token: each ends it.
    let mut live = unknown().await;
    live.frame(photo("portrait.jpg")[..1000].to_vec()).await;
    live.hear_error("UNAUTHENTICATED").await;
    assert_eq!(live.closed().await, CloseCode::Policy);
    for wrong in [json!({ "type": "start" }), json!({ "type": "auth", "token": "fsk_wrong" })] {
        let mut live = unknown().await;
        live.say(wrong).await;
        live.hear_error("UNAUTHENTICATED").await;
        assert_eq!(live.closed().await, CloseCode::Policy);
    }
    // Nothing large is read of somebody unknown.
    let mut live = unknown().await;
    live.0.send(Message::binary(photo("group.jpg"))).await.ok();
    live.cut_off().await;
    // A token in the address is none.
    let url = format!("{}?token={}", server.api("/live"), server.token(Rank::User));
    problem(get(url).await, 401, "UNAUTHENTICATED").await;

    // A key or token in a message or in a header is good.
    let key = server.key(&["analyze"]).await;
    for token in [key.clone(), server.token(Rank::ReadOnly)] {
        let mut live = unknown().await;
        live.say(json!({ "type": "auth", "token": token })).await;
        live.hear_of("authenticated").await;
        live.start(json!({ "analyses": [], "detector": "yolo" })).await;
        assert_eq!(live.ask(photo("portrait_2.jpg")).await["faces"], 1);
    }
    let (mut live, hello) = Live::open_with(&server.app, ("x-api-key", &key)).await;
    assert_eq!(hello["authenticated"], true);
    // What the key may not do, and what is not installed.
    live.say(json!({ "type": "start", "collection": "default" })).await;
    live.hear_error("FORBIDDEN").await;
    live.say(json!({ "type": "start", "analyses": ["antispoof"], "detector": "yolo" })).await;
    live.hear_error("MODEL_UNAVAILABLE").await;
    let without = server.key(&["search"]).await;
    let bearer = format!("Bearer {without}");
    assert_eq!(refused(&server.app, &[("authorization", &bearer)]).await, (403, "FORBIDDEN".to_owned()));
    assert_eq!(refused(&server.app, &[("x-api-key", "fsk_wrong")]).await, (401, "UNAUTHENTICATED".to_owned()));
    let mut live = unknown().await;
    live.say(json!({ "type": "auth", "token": without })).await;
    live.hear_error("FORBIDDEN").await;
    assert_eq!(live.closed().await, CloseCode::Policy);
}

/// A server with authentication and these settings of live video, and one detector.
async fn secured_live(live: LiveConfig) -> Secured {
    let (weights, mut config) = config_with(&["yolov10n-face"], &[Service::Yolo]);
    config.access = AccessConfig { auth: true, jwt_secret: Some(Secret::new(SECRET)), ..config.access };
    config.live = live;
    let users = seed(&config).await;
    let server = Secured::of(weights, spawn_app(config), users);
    server.app.ready().await;
    server
}

#[tokio::test]
async fn a_connection_ends_with_the_right_to_it_with_silence_and_with_its_time() {
    let quick = Duration::from_millis(300);
    let server = secured_live(LiveConfig { recheck: quick, ..LiveConfig::default() }).await;
    let body = json!({ "name": "a camera's", "scopes": ["analyze"] });
    let made = created(server.by(Rank::Admin, Method::POST, "/keys").json(&body).send().await.unwrap()).await;
    let (mut live, _) = Live::open_with(&server.app, ("x-api-key", made["key"].as_str().unwrap())).await;
    live.start(json!({ "analyses": [], "detector": "yolo" })).await;
    let path = format!("/keys/{}", made["id"].as_str().unwrap());
    assert!(server.by(Rank::Admin, Method::DELETE, &path).send().await.unwrap().status().is_success());
    live.hear_error("UNAUTHENTICATED").await;
    assert_eq!(live.closed().await, CloseCode::Policy);
    drop(live);

    let limits = LiveConfig { sign_in: quick, time: Duration::from_secs(2), ..LiveConfig::default() };
    let server = secured_live(limits).await;
    let (mut silent, _) = Live::open(&server.app).await;
    silent.hear_error("UNAUTHENTICATED").await;
    assert_eq!(silent.closed().await, CloseCode::Policy);
    let token = format!("Bearer {}", server.token(Rank::User));
    let (mut long, _) = Live::open_with(&server.app, ("authorization", &token)).await;
    assert_eq!(long.closed().await, CloseCode::Normal);
}

#[tokio::test]
async fn a_client_that_answers_no_ping_is_let_go() {
    let (_folder, mut config) = config_with(&["yolov10n-face"], &[Service::Yolo]);
    config.live = LiveConfig { idle: Duration::from_millis(1500), connections: 2, ..config.live };
    let app = spawn_app(config);
    app.ready().await;
    // Pings are answered while the client reads, and by nothing else.
    let (mut there, _) = Live::open(&app).await;
    let (_gone, _) = Live::open(&app).await;
    assert_eq!(refused(&app, &[]).await.1, "OVERLOADED");
    assert!(timeout(Duration::from_secs(4), there.closed()).await.is_err(), "it was there all the time");
    let (_third, _) = Live::open(&app).await;
    assert_eq!(refused(&app, &[]).await.1, "OVERLOADED", "only one place became free");
}

#[tokio::test]
async fn pages_of_other_origins_are_refused() {
    let listed = "https://app.example";
    let server = secured(|access| access.cors_origins = vec![listed.to_owned()]).await;
    let evil = ("origin", "https://evil.example");
    assert_eq!(refused(&server.app, &[evil]).await, (403, "FORBIDDEN".to_owned()));
    let token = format!("Bearer {}", server.token(Rank::User));
    assert_eq!(refused(&server.app, &[evil, ("authorization", &token)]).await.0, 403);
    assert_eq!(refused(&server.app, &[("origin", "null")]).await.0, 403);
    let (_live, hello) = Live::open_with(&server.app, ("origin", listed)).await;
    assert_eq!(hello["authenticated"], false);
    // Without authentication too.
    assert_eq!(refused(app(), &[evil]).await, (403, "FORBIDDEN".to_owned()));
}

#[tokio::test]
async fn connections_are_counted_in_all_and_for_each() {
    let limits = LiveConfig { connections: 3, connections_each: 2, ..LiveConfig::default() };
    let server = secured_live(limits).await;
    let bearer = |rank| format!("Bearer {}", server.token(rank));
    let (user, operator, admin) = (bearer(Rank::User), bearer(Rank::Operator), bearer(Rank::Admin));
    let (first, _) = Live::open_with(&server.app, ("authorization", &user)).await;
    // One that says later who it is counts for the same account.
    let (mut second, _) = Live::open(&server.app).await;
    second.say(json!({ "type": "auth", "token": server.token(Rank::User) })).await;
    second.hear_of("authenticated").await;
    assert_eq!(refused(&server.app, &[("authorization", &user)]).await, (429, "RATE_LIMITED".to_owned()));
    let (mut third, _) = Live::open(&server.app).await;
    assert_eq!(refused(&server.app, &[("authorization", &operator)]).await.1, "OVERLOADED");
    third.say(json!({ "type": "auth", "token": server.token(Rank::User) })).await;
    let many = third.hear_error("RATE_LIMITED").await;
    assert!(number(&many["retry_after"]) > 0.0);
    assert_eq!(third.closed().await, CloseCode::Again);
    drop((first, third));
    // A place is free once the server knows that its client left.
    let begun = std::time::Instant::now();
    while let Err(error) = connect(&server.app, &[("authorization", &admin)]).await {
        assert!(matches!(error, Error::Http(_)) && begun.elapsed() < PATIENCE, "{error}");
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
}

#[tokio::test]
async fn a_request_that_is_no_websocket_is_told_so() {
    let answer = get(app().gateway("/api/v1/live")).await;
    assert_eq!(answer.headers()["upgrade"], "websocket");
    assert!(problem(answer, 426, "UPGRADE_REQUIRED").await.contains("ws://"));
    let posted = post(app().gateway("/api/v1/live"), form("portrait.jpg")).await;
    problem(posted, 405, "METHOD_NOT_ALLOWED").await;
    let old = app().gateway("/api/v1/live");
    let old = reqwest::Client::new().get(old).header("upgrade", "websocket").header("connection", "upgrade");
    problem(old.header("sec-websocket-version", "8").send().await.unwrap(), 426, "UPGRADE_REQUIRED").await;
}

#[tokio::test]
async fn a_server_that_stops_answers_the_frame_under_way_and_says_goodbye() {
    let (_folder, config) = config_with(&["yolov10n-face"], &[Service::Yolo]);
    let app = spawn_app(config);
    app.ready().await;
    let (mut idle, _) = Live::open(&app).await;
    let (mut live, _) = Live::open(&app).await;
    live.start(json!({ "analyses": [], "detector": "yolo" })).await;
    live.frame(photo("group.jpg")).await;
    tokio::time::sleep(Duration::from_millis(30)).await;
    app.stopper.stop();
    assert!(number(&live.hear_of("frame").await["faces"]) >= 1.0);
    assert_eq!(live.closed().await, CloseCode::Away);
    assert_eq!(idle.closed().await, CloseCode::Away);
    let begun = std::time::Instant::now();
    while reqwest::Client::new().get(app.gateway("/healthz")).send().await.is_ok() {
        assert!(begun.elapsed() < Duration::from_secs(20), "live connections keep the server from stopping");
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
}
