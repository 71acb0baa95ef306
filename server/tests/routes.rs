//! Every path that is served stands in the table of who may ask what, and the table names no other.

use std::collections::BTreeSet;

use actix_web::{App, HttpRequest, http::Method, test, web};
use facesocial::{
    config::{Audience, Role},
    services,
    startup::routes,
};
use facesocial_types::Service;

const TABLE: &str = include_str!("../../tests/api/authorization.tsv");
const METHODS: [Method; 5] = [Method::GET, Method::POST, Method::PUT, Method::PATCH, Method::DELETE];
/// Where the app tells its own paths.
const MAP: &str = "/routes-of-the-app";

fn roles() -> Vec<Role> {
    [Role::Gateway].into_iter().chain(Service::ALL.iter().copied().map(Role::Service)).collect()
}

/// The table's rows as listener, method and path.
fn table() -> BTreeSet<(String, String, String)> {
    let mut rows = BTreeSet::new();
    for line in TABLE.lines().filter(|l| !l.starts_with('#')) {
        let [listener, method, path, ..] = line.split('\t').collect::<Vec<_>>()[..] else { panic!("{line}") };
        let places: Vec<(Role, String)> = match listener {
            // On the services' own ports alone.
            "services" => {
                roles().into_iter().filter(|r| *r != Role::Gateway).map(|role| (role, path.to_owned())).collect()
            }
            "all" => roles().into_iter().map(|role| (role, path.to_owned())).collect(),
            "gateway" => vec![(Role::Gateway, path.to_owned())],
            "api" => {
                [Role::Gateway, Role::Service(Service::Recognition)].map(|r| (r, format!("/api/v1{path}"))).to_vec()
            }
            service => {
                let service: Service = service.parse().unwrap();
                let under = format!("{}{path}", services::scope(service));
                vec![(Role::Service(service), path.to_owned()), (Role::Gateway, under)]
            }
        };
        for (role, path) in places {
            assert!(rows.insert((role.to_string(), method.to_owned(), path.clone())), "twice: {role} {method} {path}");
        }
    }
    rows
}

/// The paths in what the framework prints of its map of resources, which it gives in no other form.
fn patterns(map: &str) -> Vec<String> {
    let (mut open, mut found): (Vec<(usize, String)>, Vec<String>) = (Vec::new(), Vec::new());
    let lines: Vec<&str> = map.lines().collect();
    for (at, line) in lines.iter().enumerate() {
        let depth = line.len() - line.trim_start().len();
        if line.trim() == "patterns: Single(" {
            let pattern: String = serde_json::from_str(lines[at + 1].trim().trim_end_matches(',')).unwrap();
            open.retain(|(outer, _)| *outer < depth);
            open.push((depth, pattern));
        }
        // Only a resource without resources in it is a path.
        if line.trim() == "nodes: None," {
            found.push(open.iter().map(|(_, part)| part.as_str()).collect());
        }
    }
    found
}

#[actix_web::test]
async fn every_route_stands_in_the_table_of_who_may_ask_what() {
    let mut served = BTreeSet::new();
    for role in roles() {
        let map = |req: HttpRequest| async move { format!("{:#?}", req.resource_map()) };
        let app = App::new()
            .configure(|cfg| routes(role, Service::ALL, Audience::All, true, cfg))
            .route(MAP, web::get().to(map));
        let app = test::init_service(app).await;
        let map = test::call_and_read_body(&app, test::TestRequest::get().uri(MAP).to_request()).await;
        let paths = patterns(std::str::from_utf8(&map).unwrap());
        assert!(paths.len() > 4, "the map of resources is printed in another form: {paths:?}");
        for path in paths.into_iter().filter(|path| path != MAP) {
            for method in METHODS {
                let uri = path.replace("{id}", "0198c0de-0000-7000-8000-000000000000");
                let uri =
                    uri.split('{').map(|part| part.split_once('}').map_or(part, |(_, rest)| rest)).collect::<Vec<_>>();
                let request = test::TestRequest::with_uri(&uri.join("x")).method(method.clone()).to_request();
                // The app has no state here: what it answers is of no interest, but that it does.
                let status = test::call_service(&app, request).await.status();
                assert_ne!(status, 404, "{role} {method} {path}");
                if status != 405 {
                    served.insert((role.to_string(), method.to_string(), path.clone()));
                }
            }
        }
    }
    let table = table();
    let missing: Vec<_> = served.difference(&table).collect();
    let gone: Vec<_> = table.difference(&served).collect();
    assert!(missing.is_empty(), "not in tests/api/authorization.tsv: {missing:#?}");
    assert!(gone.is_empty(), "in tests/api/authorization.tsv and not served: {gone:#?}");
}
