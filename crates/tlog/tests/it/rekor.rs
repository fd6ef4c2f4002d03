//! Log entries of Sigstore's staging instances: every directory of `data/rekor2` is a test; a
//! name that ends in `_fail` must fail.

use std::error::Error;
use std::fs;
use std::path::Path;

use sealwright_tlog::cosignature::CosignerKey;
use sealwright_tlog::{
    CheckpointError, Hash, InclusionProof, SignedNote, VerifierKey, leaf_hash, verify_checkpoint,
};

const ALPHA1: &str = "log2025-alpha1.rekor.sigstage.dev";
const ALPHA1_KEY: &str = "3e7f804441e805a67bc204b5cc1aa9c662d21a7ca1c578f8945c52756541f28f";
const ALPHA3: &str = "log2025-alpha3.rekor.sigstage.dev";
const ALPHA3_KEY: &str = "943ddd55cf3268fdb998fb53fec279f43dcb2f1181816fea62b33ac7a2a63aa9";

fn key(origin: &str, hex: &str) -> VerifierKey {
    VerifierKey::new(origin, hex::decode(hex).unwrap().as_slice().try_into().unwrap()).unwrap()
}

fn case(name: &str, file: &str) -> Vec<u8> {
    fs::read(Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/data/rekor2").join(name).join(file))
        .unwrap()
}

fn verify(name: &str) -> Result<(), Box<dyn Error>> {
    let (alpha1, alpha3) = (key(ALPHA1, ALPHA1_KEY), key(ALPHA3, ALPHA3_KEY));
    let key = if name.contains("dsse") { alpha3 } else { alpha1 };
    let checkpoint = verify_checkpoint(&case(name, "checkpoint"), &key)?;
    // None of these logs cosigns its own checkpoints; witnesses are other keys.
    assert_eq!(checkpoint.cosigned_at(), None);

    let proof = String::from_utf8(case(name, "proof"))?;
    let mut lines = proof.lines();
    let proof = InclusionProof {
        index: lines.next().ok_or("no index")?.parse()?,
        size: checkpoint.checkpoint().size,
        hashes: lines
            .map(|line| Hash::from_base64(line).ok_or("no hash"))
            .collect::<Result<_, _>>()?,
    };
    Ok(checkpoint.verify_inclusion(&proof, &leaf_hash(&case(name, "body.json")))?)
}

#[test]
fn every_entry_verifies_or_fails_as_its_name_says() {
    let data = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/data/rekor2");
    let mut names: Vec<String> = fs::read_dir(data)
        .unwrap()
        .map(|entry| entry.unwrap().file_name().into_string().unwrap())
        .collect();
    names.sort();
    assert_eq!(names.len(), 9);
    for name in names {
        let result = verify(&name);
        assert_eq!(result.is_err(), name.ends_with("_fail"), "{name}: {result:?}");
    }
}

#[test]
fn the_happy_path_in_numbers() {
    // The entry of `rekor2-happy-path`, here with one witness more.
    let name = "rekor2-checkpoint-cosigned";
    let key = key(ALPHA1, ALPHA1_KEY);
    assert_eq!(Hash(key.log_id()).to_base64(), "8w1amZ2S5mJIQkQmPxdMuOrL/oJkvFg9MnQXmeOCXck=");
    assert_eq!(
        leaf_hash(&case(name, "body.json")),
        Hash::from_slice(
            &hex::decode("78470eff2921878c2141726b650bf349099c37850a731f287a6accf35d40441f")
                .unwrap()
        )
        .unwrap()
    );
    let verified = verify_checkpoint(&case(name, "checkpoint"), &key).unwrap();
    assert_eq!(verified.checkpoint().size, 736);
    assert_eq!(
        verified.checkpoint().root.to_base64(),
        "rs1YPY0ydAV0lxgfrq5pE4oRpUJwo3syeps5+eGUTDI="
    );
    assert_eq!(verified.note(), case(name, "checkpoint"));
}

#[test]
fn another_log_is_told_by_its_name() {
    let wrong_name = key(ALPHA3, ALPHA1_KEY);
    assert!(matches!(
        verify_checkpoint(&case("rekor2-checkpoint-cosigned", "checkpoint"), &wrong_name),
        Err(CheckpointError::OriginMismatch { .. })
    ));
    let wrong_key = key(ALPHA1, ALPHA3_KEY);
    assert!(matches!(
        verify_checkpoint(&case("rekor2-checkpoint-cosigned", "checkpoint"), &wrong_key),
        Err(CheckpointError::MissingSignature { .. })
    ));
}

#[test]
fn public_witnesses_cosigned_a_checkpoint() {
    // The vkeys are the ones these witnesses publish.
    let note = SignedNote::parse(&case("rekor2-dsse-witnessed", "checkpoint")).unwrap();
    for vkey in [
        "witness.stagemole.eu+67f7aea0+BEqSG3yu9YrmcM3BHvQYTxwFj3uSWakQepafafpUqklv",
        "witness.navigli.sunlight.geomys.org+a3e00fe2+BNy/co4C1Hn1p+INwJrfUlgz7W55dSZReusH/GhUhJ/G",
    ] {
        let witness = CosignerKey::parse(vkey).unwrap();
        assert_eq!(witness.to_string(), vkey);
        assert_eq!(witness.verify(&note), Ok(Some(0x6a04_cfb6)), "{vkey}");
    }
    let absent = CosignerKey::new("witness.example", &[7; 32]).unwrap();
    assert_eq!(absent.verify(&note), Ok(None));
}
