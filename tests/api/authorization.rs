//! The table of who may ask what, every cell tried. That no route is missing in it is tested beside the routes
//! themselves, in the server's own tests.

use facesocial::{
    auth::{InternalTokens, permission::ALL, tokens::Tokens},
    config::Role,
};
use facesocial_store::Role as Rank;
use facesocial_types::Service;
use reqwest::{Client, Method, StatusCode};
use serde_json::{Value, json};

use crate::accounts::{INTERNAL_SECRET, SECRET, Secured, secured};

const TABLE: &str = include_str!("authorization.tsv");
/// The columns.
const CALLERS: [Option<Rank>; 5] =
    [None, Some(Rank::ReadOnly), Some(Rank::User), Some(Rank::Operator), Some(Rank::Admin)];
/// What is for the other servers of a system alone stands in the table as a permission that nobody has.
const INTERNAL: &str = "internal";
/// What whoever is known may see stands there as a permission that everybody known has.
const ANY: &str = "any";
/// What joins permissions of which each is needed.
const AND: char = '+';
/// What another service may do with its token.
const SERVICE: [&str; 2] = ["analyze", "search"];

struct Row {
    listener: Role,
    method: Method,
    path: String,
    permission: &'static str,
    cells: Vec<&'static str>,
}

fn table() -> Vec<Row> {
    let mut rows = Vec::new();
    for line in TABLE.lines().filter(|l| !l.starts_with('#')) {
        let [listener, method, path, permission, cells @ ..] = &line.split('\t').collect::<Vec<_>>()[..] else {
            panic!("{line}")
        };
        assert_eq!(cells.len(), CALLERS.len(), "{line}");
        let places: Vec<(Role, String)> = match *listener {
            "all" | "gateway" => vec![(Role::Gateway, (*path).to_owned())],
            "services" => [Service::Antispoof, Service::Recognition]
                .map(|service| (Role::Service(service), (*path).to_owned()))
                .to_vec(),
            "api" => {
                [Role::Gateway, Role::Service(Service::Recognition)].map(|r| (r, format!("/api/v1{path}"))).to_vec()
            }
            service => {
                let service: Service = service.parse().unwrap();
                let under = format!("{}{path}", facesocial::services::scope(service));
                vec![(Role::Service(service), (*path).to_owned()), (Role::Gateway, under)]
            }
        };
        for (listener, path) in places {
            let (method, cells) = (method.parse().unwrap(), cells.to_vec());
            rows.push(Row { listener, method, path, permission, cells });
        }
    }
    rows
}

/// What was answered: 401 and 403 for themselves, `ok` for anything that got past them.
async fn ask(client: &Client, server: &Secured, row: &Row, token: Option<&str>) -> String {
    // Nothing has these identifiers, and nobody takes this body: what is allowed changes nothing.
    let path = row.path.split('{').map(|part| part.split_once('}').map_or(part, |(_, rest)| rest)).collect::<Vec<_>>();
    let path = path.join("0198c0de-0000-7000-8000-000000000000");
    let url = format!("http://{}{path}", server.app.address(row.listener));
    let mut request = client.request(row.method.clone(), url);
    if !matches!(row.method, Method::GET | Method::DELETE) {
        request = request.json(&json!({ "no such field": 1 }));
    }
    if let Some(token) = token {
        request = request.bearer_auth(token);
    }
    let answer = request.send().await.unwrap();
    let status = answer.status();
    match status {
        StatusCode::UNAUTHORIZED | StatusCode::FORBIDDEN => status.as_str().to_owned(),
        // The services that have no weights here say so, after who asks was found good.
        StatusCode::SERVICE_UNAVAILABLE => {
            let body: Value = answer.json().await.unwrap();
            let about_models = body["code"] == "MODEL_UNAVAILABLE" || body["status"] == "unavailable";
            if about_models { "ok".to_owned() } else { format!("503 {body}") }
        }
        status if status.is_server_error() || status == StatusCode::METHOD_NOT_ALLOWED => status.as_str().to_owned(),
        StatusCode::NOT_FOUND => {
            let body: Value = answer.json().await.unwrap_or_default();
            if body["code"] == "NOT_FOUND" { "not served".to_owned() } else { "ok".to_owned() }
        }
        _ => "ok".to_owned(),
    }
}

#[tokio::test]
async fn every_caller_may_do_what_the_table_says_and_nothing_else() {
    let server = secured(|access| access.login_attempts = 100_000).await;
    // Good for a minute each, which all of this may take.
    let service = || Tokens::new(SECRET.as_bytes()).service("gateway").unwrap();
    let server_token = || InternalTokens::new(INTERNAL_SECRET.as_bytes()).sign().unwrap();
    let mut keys = Vec::new();
    for (scope, _) in ALL {
        keys.push((*scope, server.key(&[scope]).await));
    }
    let client = Client::new();
    let (mut wrong, mut tried) = (Vec::new(), 0);
    for row in table() {
        let mut cells: Vec<(String, Option<String>, &str)> = Vec::new();
        for (caller, expected) in CALLERS.iter().zip(&row.cells) {
            let name = caller.map_or("anonymous", Rank::as_str).to_owned();
            cells.push((name, caller.map(|rank| server.token(rank)), *expected));
        }
        let open = row.permission == "-";
        let (internal, any) = (row.permission == INTERNAL, row.permission == ANY);
        assert!(
            open || internal || any || row.permission.split(AND).all(|one| ALL.iter().any(|(name, _)| *name == one)),
            "{} is no permission",
            row.permission
        );
        // A key of the administrator's does what its one scope says.
        for (scope, key) in &keys {
            let expected = if internal {
                "401"
            } else if open || any || *scope == row.permission {
                "ok"
            } else {
                "403"
            };
            cells.push((format!("key for {scope}"), Some(key.clone()), expected));
        }
        let expected = if internal {
            "401"
        } else if open || any || SERVICE.contains(&row.permission) {
            "ok"
        } else {
            "403"
        };
        cells.push(("service".to_owned(), Some(service()), expected));
        // The token of another server of this system is good for what is for those, and no token at all anywhere else.
        let expected = if internal || open { "ok" } else { "401" };
        cells.push(("server".to_owned(), Some(server_token()), expected));
        for (caller, token, expected) in cells {
            tried += 1;
            let found = ask(&client, &server, &row, token.as_deref()).await;
            if found != expected {
                wrong.push(format!("{} {} {}, {caller}: {found}, not {expected}", row.listener, row.method, row.path));
            }
        }
    }
    assert!(wrong.is_empty(), "{} of {tried} cells:\n{}", wrong.len(), wrong.join("\n"));
    assert!(tried > 1000, "{tried} cells");
}

#[test]
fn the_roles_of_the_table_agree_with_the_permissions() {
    assert!(table().iter().filter(|row| row.permission == INTERNAL).all(|row| row.cells.iter().all(|c| *c == "401")));
    let known = ["401", "ok", "ok", "ok", "ok"];
    assert!(table().iter().filter(|row| row.permission == ANY).all(|row| row.cells == known));
    for row in table().iter().filter(|row| !["-", INTERNAL, ANY].contains(&row.permission)) {
        let least = |one: &str| ALL.iter().find(|(name, _)| *name == one).unwrap().1;
        // Roles are ordered from the most rights to the fewest.
        let least = row.permission.split(AND).map(least).min().unwrap();
        for (caller, cell) in CALLERS.iter().zip(&row.cells) {
            let expected = match caller {
                None => "401",
                Some(rank) if *rank <= least => "ok",
                Some(_) => "403",
            };
            assert_eq!(*cell, expected, "{} {} {caller:?}", row.method, row.path);
        }
    }
}
