//! What each dialect makes of a request on its way up.

use keymoat_core::gemini::{self, Call, Versions};
use keymoat_core::head::Head;
use keymoat_core::openai;
use keymoat_core::query::Query;
use keymoat_core::refusal::Refusal;
use keymoat_core::route::{Dialect, Paths, Route};

/// The path that the upstream knows `head`'s request by. A WebSocket of Gemini's is opened without any query; in
/// OpenAI's the query names the model.
pub(crate) fn upstream_path(route: &Route, head: &mut Head) -> Result<String, Refusal> {
    let prefix = match &route.paths {
        Paths::Dialect { prefix } => prefix.as_str(),
        Paths::Patterns(_) => "",
    };
    match route.dialect {
        Dialect::Gemini => {
            let target = gemini::target(&head.path, prefix, &head.ask, Versions::default())?;
            if target.call != Call::Rest {
                head.query = Query::default();
            }
            Ok(target.path)
        }
        Dialect::OpenAi => Ok(openai::target(&head.path, prefix, &head.ask)?.path),
        Dialect::Generic => Ok(head.path.strip_prefix(prefix).unwrap_or(&head.path).to_owned()),
    }
}
