//! Bodies of the HTTP interface, each into every type that could be meant.
#![no_main]

use keyreeve_wire::access::{CreateToken, ExplainRequest, PutPolicy, PutPrincipal, UpdatePrincipal};
use keyreeve_wire::approvals::{CastVote, PutRules};
use keyreeve_wire::backups::{AcknowledgeRestore, VerifyBackup};
use keyreeve_wire::cases::{
    ConfirmIncident, DeclareEmergency, IncidentText, OpenIncident, PlaceHold, ReleaseHold, ReviewEmergency,
};
use keyreeve_wire::ceremony::RecordCeremony;
use keyreeve_wire::cipher::{
    CiphertextRequest, DecryptRequest, EncryptRequest, GenerateDataKeyRequest, ReEncryptRequest,
};
use keyreeve_wire::derivation::{
    AgreeRequest, DecapsulateRequest, DeriveRequest, RandomRequest, UnwrapRequest, WrapRequest,
};
use keyreeve_wire::drills::RecordDrill;
use keyreeve_wire::escrow::{
    AbandonRecovery, AcceptEscrowKey, GiveEscrowShare, HandInRehearsal, MakeEscrowKey, RecoverKey, SetEscrowPolicy,
};
use keyreeve_wire::grants::CreateGrant;
use keyreeve_wire::integrity::{BeginScan, ReleaseQuarantine};
use keyreeve_wire::jobs::CancelJob;
use keyreeve_wire::keyrings::CreateKeyring;
use keyreeve_wire::keys::{CompromiseKey, CreateKey, Reason, ScheduleDestruction, SuspendKey, UpdateKey};
use keyreeve_wire::login::{
    FinishOidc, IssueCredential, LoginCredential, LoginJwt, LoginLdap, PutLoginMethod, SetLoginSecret, StartOidc,
    UnwrapCredential,
};
use keyreeve_wire::mfa::{FinishTotp, FinishWebAuthn, Invite, MfaAnswer, NewChallenge, StartTotp, StartWebAuthn};
use keyreeve_wire::notices::TestNotices;
use keyreeve_wire::policies::{ApplyPolicies, RollBackPolicies, SimulatePolicies, StartShadow};
use keyreeve_wire::reviews::{CloseReview, DecideReview, OpenReview};
use keyreeve_wire::roots::{JoinRoot, MigrateRoots, RetireRoot, RotateKek};
use keyreeve_wire::shares::{AbandonReshare, BeginReshare, CommitReshare, GiveShare, HandInProof, NameHolder};
use keyreeve_wire::signing::{MacRequest, SignRequest, VerifyMacRequest, VerifyRequest};
use keyreeve_wire::system::{AcceptRollback, InitRequest, UnsealRequest};
use keyreeve_wire::transport::{ExportKey, ImportKey, ImportMaterial, ImportParametersRequest};
use libfuzzer_sys::fuzz_target;

macro_rules! read {
    ($body:expr, $($request:ty),+) => {
        $(let _ = serde_json::from_slice::<$request>($body);)+
    };
}

fuzz_target!(|body: &[u8]| {
    read!(body, EncryptRequest, DecryptRequest, ReEncryptRequest, CiphertextRequest, GenerateDataKeyRequest);
    read!(body, SignRequest, VerifyRequest, MacRequest, VerifyMacRequest);
    read!(body, DeriveRequest, AgreeRequest, WrapRequest, UnwrapRequest, DecapsulateRequest, RandomRequest);
    read!(body, CreateKeyring, CreateKey, UpdateKey, Reason, SuspendKey, CompromiseKey, ScheduleDestruction);
    read!(body, ImportParametersRequest, ImportKey, ImportMaterial, ExportKey);
    read!(body, PlaceHold, ReleaseHold, OpenIncident, IncidentText, ConfirmIncident, DeclareEmergency, ReviewEmergency);
    read!(body, StartTotp, FinishTotp, StartWebAuthn, FinishWebAuthn, NewChallenge, MfaAnswer, Invite);
    read!(body, CreateGrant, RecordCeremony, RecordDrill);
    read!(body, JoinRoot, RetireRoot, MigrateRoots, RotateKek, CancelJob);
    read!(body, NameHolder, HandInProof, BeginReshare, GiveShare, CommitReshare, AbandonReshare);
    read!(body, SetEscrowPolicy, MakeEscrowKey, AcceptEscrowKey, HandInRehearsal);
    read!(body, RecoverKey, GiveEscrowShare, AbandonRecovery);
    read!(body, CastVote, PutRules, BeginScan, ReleaseQuarantine);
    read!(body, CreateToken, PutPrincipal, UpdatePrincipal, PutPolicy, ExplainRequest, InitRequest, UnsealRequest);
    read!(body, StartOidc, FinishOidc, LoginJwt, LoginLdap, LoginCredential, IssueCredential, UnwrapCredential);
    read!(body, PutLoginMethod, SetLoginSecret);
    read!(body, TestNotices, VerifyBackup, AcknowledgeRestore, AcceptRollback);
    read!(body, OpenReview, DecideReview, CloseReview);
    read!(body, ApplyPolicies, RollBackPolicies, SimulatePolicies, StartShadow);
});
