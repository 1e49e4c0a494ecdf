//! Who may come in.

use keyreeve_engine::ops::{principals, tokens};

use super::{Case, SERVER};
use crate::support::{House, label, name};

cases! {
    "token.create" => |stage, who| {
        let (principal, networks) = (name("developer"), Default::default());
        let create = tokens::Create { principal, seconds: 60, description: label("t"), networks };
        stage.run(who, "", create).await
    };
    "token.list" => |stage, who| stage.run(who, SERVER, tokens::List { after: None, limit: 10 }).await;
    "token.revoke" => |stage, who| {
        let (principal, networks) = (name("developer"), Default::default());
        let create = tokens::Create { principal, seconds: 60, description: label("t"), networks };
        let token = stage.house.ask(create).await.record.id;
        stage.run(who, token, tokens::Revoke { token }).await
    };
    "token.self" => |stage, who| stage.run(who, SERVER, tokens::WhoAmI).await;
    "principal.put" => |stage, who| {
        let put = House::putting(&stage.fresh_name("person"), &[]);
        stage.run(who, put.name.clone(), put).await
    };
    "principal.list" => |stage, who| stage.run(who, SERVER, principals::List { after: None, limit: 10 }).await;
    "principal.describe" => |stage, who| {
        stage.run(who, "developer", principals::Describe { name: name("developer") }).await
    };
    "principal.delete" => |stage, who| {
        let put = House::putting(&stage.fresh_name("person"), &[]);
        let gone = put.name.clone();
        stage.house.ask(put).await;
        stage.run(who, &gone, principals::Delete { name: gone.clone() }).await
    };
}
