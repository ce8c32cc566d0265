"""Names that results use: no axis of a sweep may be called like one of them. `docs/labels.md` says what each is."""

_WORDS = """
    acceptance account apart attention_entropy attention_previous axis baseline block boundary boundary_kind
    boundary_step boundary_support center chain chains_at_once checkpoint claim claim_from claim_published claim_said
    claim_to claim_value claim_verdict complexity component correlation critical_is_last crossover curvature curve
    dataset dataset_of_sample degeneracy delta_llc delta_loss difference direction distance distance_trace draw
    draw_norms drift embedding_spectrum end ends_like error_curve ess_bulk ess_tail excess explained_variance_null
    explained_variance_ratio explored floor floor_nats form form_center form_curvature form_kind form_position
    form_run form_step found_by friction full_llc full_llc_trace functional_variance gamma gradients head headline held
    held_out_correlation held_out_rmse hessian_eigenvalue hessian_trace icl_score influence interpolation kernel
    leapfrog_steps left_out llc llc_at_w llc_basin llc_control llc_critical llc_end llc_position llc_raw llc_sample
    llc_simple llc_trace llc_variance loading loading_position log_odds loss loss_gap loss_init loss_sampled loss_trace
    nbeta next_learning_rate noise_nats norm norm_gain norms num_samples other other_sample output parameter
    parameter_name part point position predicted prediction_difference prior_share radius rank reason reference
    reference_difference reference_distance reference_excess reference_loss relative rhat rhat_nested rise rmse rounding
    run rung rung_gamma rung_llc rung_nbeta sample sample_gradients samples score score_reference sequence
    sequences_critical share shots singular_fluctuation slope_gamma slope_nbeta slow_friction smoothed stage start step
    step_critical step_excess step_last step_over_limit step_size strategy suits_gamma suits_nbeta suits_plateau
    suits_verdict susceptibility susceptibility_mean susceptibility_reason susceptibility_verdict test_set threshold
    tilt_nats token training_loss trial turn turn_share type velocity verdict waic walk warmup weight_norm
    weight_norm_block weight_norm_embedding weight_norm_readout
"""
_NAMES = frozenset(_WORDS.split())
_OF_A_VALUE = ("_se", "_low", "_high")


def is_reserved(name: str) -> bool:
    """Whether results have a dimension or a variable of that name, or its error or an end of its interval."""
    return name in _NAMES or any(name.endswith(of) and name.removesuffix(of) in _NAMES for of in _OF_A_VALUE)
