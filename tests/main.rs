//! Everything that needs more than one module to be shown, as one test binary: each file below
//! is one phenomenon, on real servers.

#![allow(clippy::unwrap_used, reason = "a test that cannot go on fails where it stands")]

mod support;

mod a_best_effort_sink_never_holds_the_others;
mod a_full_disk_loses_nothing;
mod a_promotion_is_followed_and_named;
mod a_stream_hands_out_every_commit;
mod a_transaction_larger_than_memory_is_given_again;
mod blocked_sink_keeps_the_connection;
mod check_finds_what_would_stop_a_pipeline;
mod connects_to_the_right_host;
mod connects_with_every_auth_and_tls_mode;
mod each_refusal_has_its_exit_code;
mod full_disk_holds_the_slot_and_loses_nothing;
mod harness_breaks_links_and_disks;
mod harness_primary_lives_and_dies;
mod idle_slot_follows_the_server;
mod json_of_every_common_type_equals_to_jsonb;
mod keys_and_types_come_from_the_catalogue;
mod messages_are_emitted_and_come_in_their_place;
mod odd_shapes_arrive_as_they_are;
mod replay_after_kills_and_restarts_is_whole;
mod replay_of_a_large_open_transaction;
mod restart_position_is_never_inside_a_transaction;
mod run_feeds_files_and_drains;
mod server_restart_and_broken_links_lose_nothing;
mod slots_are_listed_made_dropped_and_moved;
mod status_tells_how_far_everything_is;
mod streamed_transactions_arrive_as_any_other;
mod tail_prints_what_was_committed;
mod text_becomes_what_binary_is;
mod the_demo_shows_that_nothing_is_lost;
mod the_examples_do_what_they_say;
mod the_file_sink_survives_being_killed;
mod the_file_sink_survives_every_crash_point;
mod the_file_sink_touches_only_what_is_its_own;
mod tidy;
mod wal2json_is_what_the_plugin_writes;
mod what_is_in_the_way_of_a_running_pipeline_is_named;
mod what_the_publication_filters_is_what_arrives;
