//! Document: the API as `/api/v1/openapi.json` describes it, made from the operations themselves.

use std::collections::BTreeMap;

use axum::http::{Method, StatusCode};
use utoipa::openapi::path::{
    HttpMethod, OperationBuilder, ParameterBuilder, ParameterIn, PathItem, PathItemBuilder,
};
use utoipa::openapi::request_body::RequestBodyBuilder;
use utoipa::openapi::schema::{ObjectBuilder, Type};
use utoipa::openapi::security::{HttpAuthScheme, HttpBuilder, SecurityScheme};
use utoipa::openapi::{
    ComponentsBuilder, ContentBuilder, InfoBuilder, OpenApi, OpenApiBuilder, PathsBuilder, Ref,
    Required, ResponseBuilder, SecurityRequirement, ServerBuilder,
};

use super::operation::{Operation, Reach, Shape};
use super::refusal::Problem;

/// What the scheme of the tokens is called in the document.
const SCHEME: &str = "token";

const DESCRIPTION: &str = "What `couplet ctl` uses. An address in a path is percent-encoded \
    (`romeo%40example.org`). Where tokens are configured every request carries one; where none is, \
    the port answers this machine only, and a request carries the header `couplet-ctl: 1` instead. \
    Scopes: `server` may do everything, `read-only` whatever changes nothing, `domain` what \
    concerns accounts and sessions of its own domains.";

/// The document of these operations.
pub(super) fn document<B>(operations: &[Operation<B>]) -> OpenApi {
    let mut schemas = BTreeMap::new();
    let mut items: BTreeMap<&str, PathItem> = BTreeMap::new();
    let problem = Shape::of::<Problem>();
    for operation in operations {
        let shapes = [operation.takes.as_ref(), operation.gives.as_ref()];
        for shape in shapes.into_iter().flatten().chain([&problem]) {
            schemas.extend(shape.schemas.iter().cloned());
        }
        let item = PathItemBuilder::new()
            .operation(method(&operation.method), described(operation, &problem))
            .build();
        match items.get_mut(operation.path) {
            Some(known) => known.merge_operations(item),
            None => drop(items.insert(operation.path, item)),
        }
    }
    let scheme = HttpBuilder::new()
        .scheme(HttpAuthScheme::Bearer)
        .description(Some("What is in the file of a token; see `[admin]`"))
        .build();
    let paths = items
        .into_iter()
        .fold(PathsBuilder::new(), |paths, (path, item)| {
            paths.path(path, item)
        });
    OpenApiBuilder::new()
        .info(
            InfoBuilder::new()
                .title("Couplet")
                .version(env!("CARGO_PKG_VERSION"))
                .description(Some(DESCRIPTION))
                .build(),
        )
        .servers(Some([ServerBuilder::new().url("/api/v1").build()]))
        .paths(paths.build())
        .components(Some(
            ComponentsBuilder::new()
                .schemas_from_iter(schemas)
                .security_scheme(SCHEME, SecurityScheme::Http(scheme))
                .build(),
        ))
        .build()
}

fn described<B>(operation: &Operation<B>, problem: &Shape) -> utoipa::openapi::path::Operation {
    // For a scheme that is not OAuth the list says which roles are needed (OpenAPI 3.1 §4.8.30).
    let scopes = scopes(operation);
    let text = format!("Scopes: {}.", scopes.join(", "));
    let mut builder = OperationBuilder::new()
        .operation_id(Some(operation.id))
        .summary(Some(operation.text))
        .description(Some(text))
        .security(SecurityRequirement::new(SCHEME, scopes));
    for name in placeholders(operation.path) {
        let schema = ObjectBuilder::new().schema_type(Type::String);
        builder = builder.parameter(
            ParameterBuilder::new()
                .name(name)
                .parameter_in(ParameterIn::Path)
                .required(Required::True)
                .schema(Some(schema)),
        );
    }
    for parameter in &operation.parameters {
        builder = builder.parameter(parameter.clone());
    }
    if let Some(shape) = &operation.takes {
        let body = RequestBodyBuilder::new()
            .content("application/json", content(shape))
            .required(Some(Required::True));
        builder = builder.request_body(Some(body.build()));
    }
    let mut response = ResponseBuilder::new().description(phrase(operation.status));
    if let Some(shape) = &operation.gives {
        response = response.content("application/json", content(shape));
    }
    builder = builder.response(operation.status.as_str(), response.build());
    for status in refusals(operation) {
        let response = ResponseBuilder::new()
            .description(phrase(status))
            .content("application/json", content(problem));
        builder = builder.response(status.as_str(), response.build());
    }
    builder.build()
}

/// The scopes whose tokens are good for it.
fn scopes<B>(operation: &Operation<B>) -> Vec<&'static str> {
    let mut scopes = vec!["server"];
    if operation.method == Method::GET {
        scopes.push("read-only");
    }
    if operation.reach != Reach::Server {
        scopes.push("domain");
    }
    scopes
}

/// With what it may be refused.
fn refusals<B>(operation: &Operation<B>) -> Vec<StatusCode> {
    let mut statuses = vec![
        StatusCode::UNAUTHORIZED,
        StatusCode::FORBIDDEN,
        StatusCode::SERVICE_UNAVAILABLE,
    ];
    let has_input = operation.takes.is_some()
        || !operation.parameters.is_empty()
        || placeholders(operation.path).next().is_some();
    if has_input {
        statuses.push(StatusCode::BAD_REQUEST);
        statuses.push(StatusCode::NOT_FOUND);
    }
    if operation.method != Method::GET {
        statuses.push(StatusCode::CONFLICT);
    }
    statuses
}

/// The names in the braces of a path.
fn placeholders(path: &str) -> impl Iterator<Item = &str> {
    let parts = path.split('{').skip(1);
    parts.filter_map(|part| part.split_once('}').map(|(name, _)| name))
}

fn content(shape: &Shape) -> utoipa::openapi::Content {
    ContentBuilder::new()
        .schema(Some(Ref::from_schema_name(&shape.name)))
        .build()
}

fn phrase(status: StatusCode) -> &'static str {
    status.canonical_reason().unwrap_or("refused")
}

fn method(method: &Method) -> HttpMethod {
    match *method {
        Method::POST => HttpMethod::Post,
        Method::PUT => HttpMethod::Put,
        Method::DELETE => HttpMethod::Delete,
        _ => HttpMethod::Get,
    }
}
