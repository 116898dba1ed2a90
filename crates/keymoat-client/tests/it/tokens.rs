//! Auth tokens: minted with the key, used without it.
#![expect(clippy::unwrap_used, reason = "a test ends at the first thing that is not as it should be")]

use std::time::{Duration, SystemTime};

use keymoat_client::gemini::{NewToken, Version};
use keymoat_client::{Credential, Error};

use crate::support::{Bench, KEY, say, text_setup};

#[tokio::test]
async fn a_token_is_minted_and_connects_on_its_own_method() {
    let bench = Bench::start().await;
    let order = NewToken::new().uses(1).expires(SystemTime::now() + Duration::from_secs(600));
    let token = bench.gemini().auth_tokens().create(order).await.unwrap();
    assert!(token.secret().len() > "auth_tokens/".len());
    let minted = bench.last();
    assert_eq!((minted.path.as_str(), minted.query), ("/v1alpha/auth_tokens", None));
    let client = bench.client(token.into_credential());
    let mut session = client.live().connect(text_setup()).await.unwrap();
    assert!(say(&mut session, "hi").await.contains("Turn 1"));
    let request = bench.last();
    assert!(request.path.ends_with(".v1alpha.GenerativeService.BidiGenerateContentConstrained"));
    assert_eq!(request.query, None);
    let places: Vec<_> = request.credentials.iter().map(|found| found.place.as_str()).collect();
    assert_eq!(places, ["header:authorization"]);
    // The one use is gone.
    assert!(matches!(client.live().connect(text_setup()).await, Err(Error::Closed(_))));
}

#[tokio::test]
async fn a_locked_setup_holds_whatever_the_session_asks_for() {
    let bench = Bench::start().await;
    for (order, is_mine) in [
        (NewToken::new().lock(&text_setup().system_instruction("locked")), false),
        (NewToken::new().lock_only(&text_setup().system_instruction("locked")), false),
        (NewToken::new().lock_only(&text_setup()), true),
        (NewToken::new().lock_only(&text_setup()).lock_empty(&["systemInstruction"]), false),
    ] {
        let token = bench.gemini().auth_tokens().create(order).await.unwrap();
        let client = bench.client(token.into_credential());
        let setup = text_setup().system_instruction("mine");
        let mut session = client.live().connect(setup).await.unwrap();
        let told = say(&mut session, "show setup").await;
        assert_eq!(told.contains("mine"), is_mine, "{told}");
    }
}

#[tokio::test]
async fn what_minting_is_refused_with_is_told() {
    let bench = Bench::start().await;
    let order = || NewToken::new().expires(SystemTime::now() + Duration::from_secs(100 * 3600));
    let refused = bench.gemini().auth_tokens().create(order()).await;
    let Err(Error::Refused(refused)) = refused else { panic!("not refused") };
    assert_eq!((refused.status, refused.code.as_deref()), (400, Some("INVALID_ARGUMENT")));
    let Err(Error::Refused(refused)) = bench.gemini().auth_tokens().version(Version::V1).create(order()).await else {
        panic!("not refused")
    };
    assert_eq!(refused.status, 404);
    let wrong = bench.client(Credential::api_key("another-key")).auth_tokens().create(NewToken::new()).await;
    assert!(wrong.unwrap_err().to_string().contains("API key not valid"));
    assert!(bench.requests().iter().all(|request| !request.body.contains(KEY)));
}
