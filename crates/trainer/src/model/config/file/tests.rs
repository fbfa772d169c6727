use super::*;

fn config(extra: &str) -> Parsed<DecoderConfig> {
    DecoderConfig::parse(&format!(
        r#"{{"vocab_size": 64, "hidden_size": 32, "intermediate_size": 48,
            "num_hidden_layers": 2, "num_attention_heads": 4, {extra}}}"#
    ))
}

#[test]
fn key_value_heads_and_head_size_have_the_usual_defaults() {
    let c = config(r#""model_type": "llama""#).expect("valid");
    assert_eq!(c.attention, AttentionShape { heads: 4, kv_heads: 4, head_dim: 8 });
    assert!((c.attention_scale - 8.0_f64.powf(-0.5)).abs() < 1e-15);
    assert!((c.ropes[0].frequencies(9)[1] - 10_000.0_f64.powf(-0.25)).abs() < 1e-15);
}

#[test]
fn the_rotary_base_is_found_in_the_old_and_in_the_new_place() {
    let old = config(r#""model_type": "llama", "rope_theta": 500000.0"#).expect("valid");
    let new = config(
        r#""model_type": "llama",
           "rope_parameters": {"rope_type": "default", "rope_theta": 500000.0}"#,
    )
    .expect("valid");
    assert!((old.ropes[0].frequencies(9)[2] - 500_000.0_f64.powf(-0.5)).abs() < 1e-15);
    assert_eq!(old, new);
}

#[test]
fn qwen_models_are_configurations_of_the_same_decoder() {
    let qwen2 = config(r#""model_type": "qwen2""#).expect("valid");
    assert!(qwen2.qkv_bias && !qwen2.o_bias && qwen2.qk_norm.is_none());
    let qwen3 = config(r#""model_type": "qwen3", "head_dim": 16"#).expect("valid");
    assert!(!qwen3.qkv_bias && qwen3.qk_norm == Some(QkNorm::Head));
    assert_eq!(qwen3.attention.head_dim, 16);
}

#[test]
fn what_transformers_does_not_write_has_the_default_of_its_model() {
    let gemma2 = config(r#""model_type": "gemma2""#).expect("valid");
    assert_eq!(gemma2.attention.head_dim, 256);
    assert_eq!((gemma2.attention_softcap, gemma2.final_softcap), (Some(50.0), Some(30.0)));
    assert!(gemma2.tie_word_embeddings && gemma2.attention_scale == 1.0 / 16.0);
    let windows: Vec<_> = gemma2.layers.iter().map(|l| l.window).collect();
    assert_eq!(windows, [Some(4096), None]);
    let uncapped = config(r#""model_type": "gemma2", "attn_logit_softcapping": null"#);
    assert_eq!(uncapped.expect("valid").attention_softcap, None);
    let gemma3 = config(r#""model_type": "gemma3_text", "sliding_window_pattern": 2"#);
    let gemma3 = gemma3.expect("valid");
    assert_eq!((gemma3.attention_softcap, gemma3.final_softcap), (None, None));
    assert_eq!(gemma3.layers[0], LayerKind { window: Some(4096), rope: Some(1) });
    assert_eq!(gemma3.layers[1], LayerKind { window: None, rope: Some(0) });
    assert_ne!(gemma3.ropes[0], gemma3.ropes[1]);
    let smollm3 = config(r#""model_type": "smollm3", "no_rope_layer_interval": 2"#);
    let rotated: Vec<_> = smollm3.expect("valid").layers.iter().map(|l| l.rope).collect();
    assert_eq!(rotated, [Some(0), None]);
}

#[test]
fn a_window_is_in_use_where_the_model_says_so() {
    let windows = |extra: &str| -> Vec<Option<usize>> {
        config(extra).expect("valid").layers.iter().map(|l| l.window).collect()
    };
    assert_eq!(windows(r#""model_type": "mistral", "sliding_window": 16"#), [Some(16); 2]);
    assert_eq!(windows(r#""model_type": "mistral", "sliding_window": null"#), [None; 2]);
    assert_eq!(windows(r#""model_type": "qwen2", "sliding_window": 16"#), [None; 2]);
    let qwen = r#""model_type": "qwen2", "sliding_window": 16, "use_sliding_window": true,
                  "max_window_layers": 1"#;
    assert_eq!(windows(qwen), [None, Some(16)]);
}

#[test]
fn three_named_projections_stand_for_a_fused_one_and_two_do_not() {
    use spec::TargetModule as M;
    let phi = config(r#""model_type": "phi3""#).expect("valid");
    assert_eq!(phi.targets(&M::ALL), Ok(M::FUSED.to_vec()));
    assert_eq!(phi.targets(&[M::OProj, M::QkvProj]), Ok(vec![M::QkvProj, M::OProj]));
    let message = phi.targets(&[M::QProj, M::VProj]).expect_err("two of three");
    assert!(message.contains("q_proj") && message.contains("qkv_proj"), "{message}");
    let llama = config(r#""model_type": "llama""#).expect("valid");
    assert_eq!(llama.targets(&M::ALL), Ok(M::ALL.to_vec()));
    let message = llama.targets(&[M::GateUpProj]).expect_err("no such layer");
    assert!(message.contains("gate_up_proj"), "{message}");
}

#[test]
fn what_would_change_the_results_is_named_and_never_ignored() {
    for (extra, named) in [
        (r#""model_type": "gpt2""#, "gpt2"),
        (r#""model_type": "gemma3", "text_config": {}"#, "images"),
        (r#""model_type": "llama", "hidden_act": "gelu""#, "gelu"),
        (r#""model_type": "llama", "rope_scaling": {"rope_type": "llama3"}"#, "factor"),
        (r#""model_type": "llama", "rope_scaling": {"type": "linear", "factor": 0}"#, "factor"),
        (r#""model_type": "llama", "rope_scaling": {"type": "spiral"}"#, "spiral"),
        (r#""model_type": "llama", "quantization_config": {}"#, "quantization_config"),
        (r#""model_type": "llama", "num_key_value_heads": 3"#, "num_key_value_heads"),
        (r#""model_type": "llama", "head_dim": 7"#, "head_dim"),
        (r#""model_type": "llama", "partial_rotary_factor": 0.5"#, "partial_rotary_factor"),
        (r#""model_type": "llama", "final_logit_softcapping": 30.0"#, "final_logit_softcapping"),
        (r#""model_type": "gemma3_text", "attn_logit_softcapping": 5"#, "attn_logit_softcapping"),
        (r#""model_type": "gemma2", "use_bidirectional_attention": true"#, "bidirectional"),
        (r#""model_type": "olmo2", "clip_qkv": 8.0"#, "clip_qkv"),
        (r#""model_type": "qwen3", "layer_types": ["full_attention"]"#, "layer_types"),
        (r#""model_type": "mistral", "sliding_window": 0"#, "sliding_window"),
        (
            r#""model_type": "phi3", "rope_scaling":
               {"type": "longrope", "short_factor": [1], "long_factor": [1]}"#,
            "long_factor",
        ),
    ] {
        let message = config(extra).expect_err(extra);
        assert!(message.contains(named), "`{message}` does not name {named}");
    }
}
