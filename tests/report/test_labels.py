from mfal.report.labels import VISIBLE_IN_PRINT, bought_table


def rows(html):
    return html.count("<tr>") - html.count("<thead>")


def test_labels_bought_together_without_a_gain_share_a_row(results):
    html = bought_table(results)
    acquired = [b for b in results["bought"] if b["gain"] is not None]
    assert rows(html.split('class="paper"')[0]) == len(acquired) + 3
    assert "(352 in all)" in html


def test_print_shows_the_first_rows_and_says_so(results):
    first = results["bought"][-1]
    results["bought"] = [{**first, "gain": float(i + 1)} for i in range(120)]
    folded, printed = bought_table(results).split('class="paper"')
    assert rows(folded) == 120
    assert rows(printed) == VISIBLE_IN_PRINT
    assert "The first 50 rows." in printed
