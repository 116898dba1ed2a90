//! Field masks of ephemeral tokens: how the SDKs write them, and what they do to a setup.

use serde_json::{Map, Value};

use super::{field, setup};

/// Reads a field mask as the SDKs write it: either spelling, generation fields with or without their parent, at most
/// two levels, duplicates.
pub(crate) fn read(written: &str) -> Result<Vec<String>, String> {
    let mut mask = Vec::new();
    for path in written.split(',').map(str::trim).filter(|path| !path.is_empty()) {
        let segments: Vec<_> = path.split('.').map(field::camel_case).collect();
        let mut segments: Vec<_> = segments.iter().map(String::as_str).collect();
        if let Some(index) = segments.iter().position(|segment| segment.bytes().all(|byte| byte.is_ascii_digit())) {
            segments.truncate(index);
        }
        if let Some(first) = segments.first()
            && !setup::MEMBERS.contains(first)
            && setup::GENERATION_MEMBERS.contains(first)
        {
            segments.insert(0, "generationConfig");
        }
        segments.truncate(2);
        if segments.first().is_none_or(|first| !setup::MEMBERS.contains(first)) {
            return Err(format!("field_mask: no field `{path}`"));
        }
        let path = segments.join(".");
        if !mask.contains(&path) {
            mask.push(path);
        }
    }
    Ok(mask)
}

/// The paths that an SDK's mask would list for a setup.
pub(crate) fn paths(setup: &Map<String, Value>) -> Vec<String> {
    let mut paths = Vec::new();
    for (name, value) in setup {
        match value {
            Value::Object(members) if !members.is_empty() => {
                paths.extend(members.keys().map(|member| format!("{name}.{member}")));
            }
            _ => paths.push(name.clone()),
        }
    }
    paths
}

/// Whether a masked path locks `path`.
pub(crate) fn covers(masked: &str, path: &str) -> bool {
    path.strip_prefix(masked).is_some_and(|rest| rest.is_empty() || rest.starts_with('.'))
}

/// Sets one path of `setup` to what `locked` has there, and unsets it when that is nothing.
pub(crate) fn overwrite(setup: &mut Map<String, Value>, path: &str, locked: Option<&Map<String, Value>>) {
    let Some((parent, member)) = path.split_once('.') else {
        match locked.and_then(|locked| locked.get(path)) {
            Some(value) => setup.insert(path.to_owned(), value.clone()),
            None => setup.remove(path),
        };
        return;
    };
    let value = locked.and_then(|locked| locked.get(parent)).and_then(|parent| parent.get(member)).cloned();
    let parent = setup.entry(parent).or_insert_with(|| Value::Object(Map::new()));
    if !parent.is_object() {
        *parent = Value::Object(Map::new());
    }
    if let Value::Object(parent) = parent {
        match value {
            Some(value) => parent.insert(member.to_owned(), value),
            None => parent.remove(member),
        };
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reads_every_spelling_of_the_sdks() {
        let mask = read("model, generationConfig.topK,top_k,topP,tools.0.x,output_audio_transcription,model");
        let expected = ["model", "generationConfig.topK", "generationConfig.topP", "tools", "outputAudioTranscription"];
        assert_eq!(mask, Ok(expected.map(str::to_owned).to_vec()));
        assert!(read("model,nonsense").is_err());
        assert!(read("0").is_err());
    }

    #[test]
    fn a_parent_covers_its_children_and_nothing_else() {
        assert!(covers("tools", "tools") && covers("generationConfig", "generationConfig.topK"));
        assert!(!covers("tool", "tools") && !covers("generationConfig.top", "generationConfig.topK"));
    }
}
