//! What the service answers, described for programs (OpenAPI 3.1).

use axum::response::{IntoResponse, Response};

use super::bundles::JSON;

/// Written by hand; a test holds it against the routes, and another the answers against it.
const DESCRIPTION: &str = include_str!("../../openapi.json");

/// `GET /openapi.json`.
pub(super) async fn description() -> Response {
    (JSON, DESCRIPTION).into_response()
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use serde_json::Value;

    use super::DESCRIPTION;

    /// Path and methods of every route, as `routes.rs` has them.
    fn routes() -> BTreeSet<(String, String)> {
        let text = include_str!("routes.rs");
        let mut routes = BTreeSet::new();
        for route in text.split(".route(").skip(1) {
            let (path, rest) = route[1..].split_once('"').unwrap();
            let end = [".route(", ".fallback("].iter().filter_map(|end| rest.find(end)).min();
            let handlers = &rest[..end.unwrap_or(rest.len())];
            for method in ["get", "post", "put", "delete"] {
                let is_there =
                    handlers.contains(&format!("{method}(")) || handlers.contains("any(");
                // What any method reaches is only read.
                if is_there && (method == "get" || !handlers.contains("any(")) {
                    routes.insert((path.to_owned(), method.to_owned()));
                }
            }
        }
        assert!(routes.len() > 15, "{routes:?}");
        routes
    }

    fn described() -> BTreeSet<(String, String)> {
        let description: Value = serde_json::from_str(DESCRIPTION).unwrap();
        let paths = description["paths"].as_object().unwrap();
        let operations = |(path, item): (&String, &Value)| {
            let methods = item.as_object().unwrap().keys().filter(|name| *name != "parameters");
            methods.map(|method| (path.clone(), method.clone())).collect::<Vec<_>>()
        };
        paths.iter().flat_map(operations).collect()
    }

    /// Whether a described path is one of the route's. A route's last part may stand for several.
    fn is_of(path: &str, route: &str) -> bool {
        match route.split_once("{*") {
            Some((start, _)) => path.strip_prefix(start).is_some_and(|rest| !rest.is_empty()),
            None => path == route,
        }
    }

    #[test]
    fn every_route_is_described_and_nothing_else() {
        let (routes, described) = (routes(), described());
        let fits = |(path, method): &(String, String), (route, of): &(String, String)| {
            is_of(path, route) && method == of
        };
        for operation in &described {
            assert!(routes.iter().any(|route| fits(operation, route)), "no route {operation:?}");
        }
        for route in &routes {
            assert!(described.iter().any(|known| fits(known, route)), "not described: {route:?}");
        }
    }

    #[test]
    fn every_reference_leads_somewhere_and_every_part_is_used() {
        let description: Value = serde_json::from_str(DESCRIPTION).unwrap();
        let text = description.to_string();
        let mut used = BTreeSet::new();
        for reference in text.split("\"$ref\":\"").skip(1) {
            let place = reference.split('"').next().unwrap();
            let part = description.pointer(place.strip_prefix('#').unwrap());
            assert!(part.is_some(), "{place}");
            used.insert(place.to_owned());
        }
        for (kind, parts) in description["components"].as_object().unwrap() {
            for name in parts.as_object().unwrap().keys() {
                let place = format!("#/components/{kind}/{name}");
                assert!(used.contains(&place) || kind == "securitySchemes", "{place}");
            }
        }
    }
}
