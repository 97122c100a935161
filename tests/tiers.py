"""Which tests are quick: `python -m pytest -m quick` runs each part of the package in a minute and compiles nothing.

All tests are quick but those that are named here, and but most cases of the large tables, of which each function keeps a few.
"""

import gc
import sys

import pytest

# Beginnings of the names that pytest shows. By torch.compile, torch.export, Triton or a C compiler, each a second or more:
COMPILE = (
    "tests/compiling/",
    "tests/docs/test_extending.py::test_in_a_batch_under_torch_compile",
    "tests/docs/test_pages.py",
    "tests/extending/test_parts.py::test_compiled",
    "tests/formulas/test_normalizers.py::test_softmax_as_a_function_is_softmax_everywhere",
    "tests/graphs/test_data.py::test_compiled_functions_read_it",
    "tests/graphs/test_padded.py::test_export_is_refused_and_compiled_code_runs",
    "tests/graphs/test_recording.py::test_torch_compile_goes_on",
    "tests/kernels/cuda/test_edge_rows.py::test_without_interpreter_programs_compile",
    "tests/kernels/native/test_band_tiles.py",
    "tests/kernels/native/test_build.py",
    "tests/kernels/native/test_lanes.py",
    "tests/kernels/test_fence.py",
    "tests/nn/test_acceleration.py::test_what_was_done_to_a_layer_is_kept[compiled",
    "tests/nn/test_attention.py::test_compiled_layers_hide_it_too",
    "tests/nn/test_generation.py::test_compiled_models",
    "tests/nn/test_next_token.py::test_a_check_is_not_dead_code",
    "tests/nn/test_next_token.py::test_compiled",
    "tests/nn/test_next_token.py::test_the_names_of_compiled_models",
    "tests/running/test_hidden.py::test_compiled",
)
# A process of their own that imports torch, a model that is trained, or numbers that fill memory:
SLOW = (
    "graphattn/testing/check.py::graphattn.testing.check.check_normalizer",
    "graphattn/testing/check.py::graphattn.testing.check.check_score",
    "tests/benchmarks/test_bands.py::test_table",
    "tests/benchmarks/test_choose_kernel.py::test_table",
    "tests/benchmarks/test_edges.py::test_table",
    "tests/benchmarks/test_everyday.py::test_table",
    "tests/benchmarks/test_layers.py::test_table",
    "tests/benchmarks/test_memory.py::test_peak_is_counted_beyond_inputs_and_results",
    "tests/command/test_command.py::test_in_a_process_of_its_own",
    "tests/docs/test_extending.py::test_every_block_is_in_the_module",
    "tests/docs/test_extending.py::test_the_kernel_runs",
    "tests/docs/test_howto.py",
    "tests/docs/test_lecture.py::test_the_lines_run",
    "tests/docs/test_making.py::test_notebooks_run",
    "tests/docs/test_making.py::test_the_page_of_attention_is_what_is_made_today",
    "tests/docs/test_pages.py::test_scripts_of_the_start_learn",
    "tests/docs/test_pages.py::test_the_script_for_molecules_learns",
    "tests/docs/test_site.py",
    "tests/examples/test_cnn_or_attention.py::test_runs_from_files_to_the_plot_and_goes_on_where_it_stopped",
    "tests/examples/test_forces.py::test_forces_are_learned_and_drawn",
    "tests/examples/test_graph_classification.py::test_runs_from_files_to_pictures_and_goes_on_where_it_stopped",
    "tests/examples/test_grapheme_to_phoneme.py::test_a_run_in_pieces_has_the_result_of_one_long_run",
    "tests/examples/test_grapheme_to_phoneme.py::test_spelling_is_learned_tested_and_drawn",
    "tests/examples/test_images.py::test_runs_from_files_to_pictures",
    "tests/examples/test_lecture.py::test_every_picture_is_drawn_in_few_bytes",
    "tests/examples/test_masks.py::test_every_mask_is_trained_tested_and_drawn",
    "tests/examples/test_molecules.py::test_learns_to_count_atoms_in_the_unit_of_the_targets",
    "tests/examples/test_molecules.py::test_runs_from_files_to_pictures_and_goes_on_where_it_stopped",
    "tests/examples/test_node_classification.py::test_finished_runs_are_not_repeated",
    "tests/examples/test_sentiment.py::test_negation_is_learned_and_drawn",
    "tests/examples/test_sequence_labeling.py::test_context_is_learned_and_drawn",
    "tests/examples/test_speech_digits.py::test_order_of_frames_is_learned_and_drawn",
    "tests/examples/test_speech_digits.py::test_sweep_has_a_result_for_each_window",
    "tests/examples/test_tour.py::test_tour_trains_and_draws_every_stop",
    "tests/graphs/test_algebra.py::test_batch_then_split",
    "tests/install/test_editable.py",
    "tests/install/test_sdist.py",
    "tests/kernels/cuda/test_edges_cuda.py::test_bit_for_bit_repeatable",
    "tests/kernels/cuda/test_edges_cuda.py::test_heads_are_shared_among_programs",
    "tests/kernels/cuda/test_edges_cuda.py::test_heavy_rows_and_columns_are_cut_and_joined",
    "tests/kernels/cuda/test_edges_cuda.py::test_pieces_without_any_finite_score_join_to_an_empty_row",
    "tests/kernels/fused/test_banded_torch.py::test_memory_is_little_more_than_the_tensors",
    "tests/kernels/fused/test_dense.py::test_no_bias_of_all_pairs_is_made",
    "tests/kernels/native/test_banded_cpu.py::test_narrow_registers",
    "tests/kernels/native/test_library.py::test_a_file_that_is_no_library",
    "tests/kernels/native/test_library.py::test_a_library_of_other_sources",
    "tests/kernels/native/test_library.py::test_a_library_of_something_else",
    "tests/kernels/native/test_library.py::test_without_the_library",
    "tests/kernels/native/test_threads.py::test_an_exception_of_a_signal_reaches_the_caller_and_spoils_nothing",
    "tests/nn/test_acceleration.py::test_wrapped_models",
    "tests/nn/test_generation.py::test_probabilities_of_half_precision_are_added_up_in_float32",
    "tests/nn/test_gps_conv.py::test_forces_can_be_trained",
    "tests/nn/test_seq2seq.py::test_equals_torch_transformer",
    "tests/nn/test_type_names.py::test_all_keys_are_different_and_fit",
    "tests/recipes/test_every_recipe.py::test_a_network_of_few_hundred_nodes_does_not_get_an_untrained_epoch",
    "tests/recipes/test_every_recipe.py::test_a_run_in_pieces_has_the_result_of_one_long_run",
    "tests/recipes/test_every_recipe.py::test_it_learns",
    "tests/recipes/test_every_recipe.py::test_seeds_decide",
    "tests/test_fuzz.py::test_a_fault_is_one_line",
    "tests/test_fuzz.py::test_any_mixture_of_options_equals_the_dense_definition",
    "tests/test_fuzz.py::test_random_calls_equal_plain_loops",
    "tests/test_init.py::test_every_part_is_there",
    "tests/test_training.py::test_export_with_sizes_left_open",
    "tests/test_training.py::test_two_processes_train_as_one",
    "tests/testing/test_check.py::test_normalizers",
    "tests/testing/test_check.py::test_scores",
    "tests/typing/",
    "tests/viz/explorer/test_scenes.py",
    "tests/viz/explorer/test_speed.py",
    "tests/viz/test_words.py::test_long_texts_are_cut",
)
FEW = 6  # cases that a function keeps in the quick tier, spread evenly over all it has


def pytest_configure(config):
    config.addinivalue_line("markers", "quick: for every save (see tests/tiers.py)")
    config.addinivalue_line("markers", "slow: takes long, or is one of many cases of a function")
    config.addinivalue_line("markers", "compiles: calls torch.compile, torch.export or a C compiler")


@pytest.hookimpl(tryfirst=True)  # before `-m` chooses
def pytest_collection_modifyitems(items):
    cases = {}
    for item in items:
        cases.setdefault(item.nodeid.partition("[")[0], []).append(item)
    for name, of_function in cases.items():
        few = set(range(0, len(of_function), -(-len(of_function) // FEW)))
        for place, item in enumerate(of_function):
            if item.nodeid.startswith(COMPILE):
                item.add_marker("compiles")
            elif name.startswith(SLOW) or place not in few:
                item.add_marker("slow")
            else:
                item.add_marker("quick")


@pytest.hookimpl(wrapper=True)
def pytest_runtest_call(item):
    """Fails a quick test that compiles."""
    dynamo = sys.modules.get("torch._dynamo.utils")
    if dynamo is None or item.get_closest_marker("quick") is None:
        return (yield)
    before = dynamo.counters["frames"]["ok"]
    result = yield
    if dynamo.counters["frames"]["ok"] > before:
        raise AssertionError(f"{item.nodeid} compiles: name it in COMPILE of tests/tiers.py")
    return result


def pytest_collection_finish():
    """Many tests collect garbage: thousands of tests and modules need not be looked at each time."""
    gc.collect()
    gc.freeze()
