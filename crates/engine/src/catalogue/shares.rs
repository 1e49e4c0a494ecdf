//! Shares of roots of trust and who holds them.

use super::{READ, SYSTEM};

super::rows! {
    ROOT_HOLDERS = "root.holders", System, [SYSTEM, AUDIT], READ, Open,
        "Shows who holds the shares of a root of trust, and when each last showed to have theirs.";
    ROOT_NAME_HOLDER = "root.name-holder", System, [SYSTEM], SYSTEM, Open, "Writes down who holds a share.";
    ROOT_CHALLENGE = "root.challenge", System, [SYSTEM], SYSTEM, Open,
        "Asks the holders of shares to show that they have them.";
    ROOT_VERIFY_SHARE = "root.verify-share", System, [SELF], SYSTEM, Open,
        "Takes a proof that a holder has a share.";
    ROOT_RESHARE = "root.reshare", System, [SYSTEM], SYSTEM, Open,
        "Begins to exchange the shares of a root of trust for new ones.";
    ROOT_RESHARE_GIVE = "root.reshare-give", System, [SELF], SYSTEM, Open,
        "Gives one present share towards an exchange.";
    ROOT_RESHARE_SHOW = "root.reshare-show", System, [SYSTEM], READ, Open,
        "Hands out the new shares, each encrypted to its holder.";
    ROOT_RESHARE_COMMIT = "root.reshare-commit", System, [SYSTEM], SYSTEM, Open,
        "Puts the new shares in the place of the present ones.";
    ROOT_RESHARE_ABANDON = "root.reshare-abandon", System, [SYSTEM], SYSTEM, Open,
        "Gives up an exchange of shares: the present ones stay.";
}
