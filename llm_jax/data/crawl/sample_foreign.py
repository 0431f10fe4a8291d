"""Sentences of languages that the articles are not in, to be told apart.

Ours, on everyday matters, with places and numbers that vary; a page joins a
dozen of them.
"""

from __future__ import annotations

import random

_PLACES = ("Aldenburg", "Montesol", "Karvala", "Bergheim", "Rivanova",
           "Strandby", "Olmeda", "Fontane", "Valdora", "Lindholm")
SENTENCES: dict[str, tuple[str, ...]] = {
    "de": (
        "Der Markt in {} öffnet jeden Samstag um {} Uhr und schließt am "
        "frühen Nachmittag.",
        "Wer im Herbst nach {} fährt, sollte warme Kleidung und gute Schuhe "
        "mitnehmen.",
        "Die alte Brücke über den Fluss wurde vor {1} Jahren gebaut und "
        "seitdem zweimal erneuert.",
        "Im Museum von {} hängen {1} Bilder, von denen die meisten aus der "
        "Gegend stammen.",
        "Die Gemeinde hat beschlossen, den Weg zum Bahnhof im nächsten Jahr "
        "neu zu pflastern.",
        "Viele Familien kommen am Wochenende hierher, weil der Wald gleich "
        "hinter dem Dorf beginnt.",
        "Das Brot wird noch von Hand gemacht, und man riecht es schon am "
        "frühen Morgen.",
        "Nach einem langen Winter freuen sich alle auf die ersten warmen "
        "Tage im {} Tal.",
        "Der Bus fährt {1} Mal am Tag, sonntags jedoch nur bis zur Kirche.",
        "Die Schule hat einen großen Garten, in dem die Kinder Gemüse "
        "anpflanzen."),
    "it": (
        "Il mercato di {} apre ogni sabato alle {1} e chiude nel primo "
        "pomeriggio.",
        "Chi viene a {} in autunno dovrebbe portare vestiti caldi e scarpe "
        "comode.",
        "Il vecchio ponte sul fiume fu costruito {1} anni fa e da allora è "
        "stato restaurato due volte.",
        "Nel museo di {} ci sono {1} quadri, quasi tutti di pittori della "
        "zona.",
        "Il comune ha deciso di rifare la strada che porta alla stazione "
        "entro il prossimo anno.",
        "Molte famiglie vengono qui la domenica perché il bosco comincia "
        "subito dietro il paese.",
        "Il pane si fa ancora a mano e il profumo si sente già al mattino "
        "presto.",
        "Dopo un lungo inverno tutti aspettano le prime giornate calde della "
        "valle di {}.",
        "L'autobus passa {1} volte al giorno, ma la domenica arriva soltanto "
        "fino alla chiesa.",
        "La scuola ha un grande giardino in cui i bambini coltivano le "
        "verdure."),
    "pt": (
        "A feira de {} abre todos os sábados às {1} horas e fecha no começo "
        "da tarde.",
        "Quem vai a {} no outono deve levar roupas quentes e sapatos "
        "confortáveis.",
        "A antiga ponte sobre o rio foi construída há {1} anos e já foi "
        "reformada duas vezes.",
        "No museu de {} há {1} quadros, quase todos de pintores da região.",
        "A câmara decidiu refazer o caminho até a estação durante o próximo "
        "ano.",
        "Muitas famílias vêm aqui ao fim de semana porque a mata começa logo "
        "atrás da aldeia.",
        "O pão ainda é feito à mão, e o cheiro sente-se logo de manhã cedo.",
        "Depois de um longo inverno, todos esperam pelos primeiros dias "
        "quentes no vale de {}.",
        "O ônibus passa {1} vezes por dia, mas ao domingo só vai até a "
        "igreja.",
        "A escola tem uma horta grande, onde as crianças plantam legumes."),
    "ca": (
        "El mercat de {} obre cada dissabte a les {1} i tanca a primera hora "
        "de la tarda.",
        "Qui viatgi a {} a la tardor hauria de portar roba d'abric i sabates "
        "còmodes.",
        "El vell pont sobre el riu es va construir fa {1} anys i des "
        "d'aleshores s'ha restaurat dues vegades.",
        "Al museu de {} hi ha {1} quadres, gairebé tots de pintors de la "
        "comarca.",
        "L'ajuntament ha decidit arreglar l'any vinent el camí que porta a "
        "l'estació.",
        "Moltes famílies hi venen els caps de setmana perquè el bosc comença "
        "just darrere del poble.",
        "El pa encara es fa a mà i se'n sent l'olor des de ben d'hora al "
        "matí.",
        "Després d'un hivern llarg, tothom espera els primers dies de calor a "
        "la vall de {}.",
        "L'autobús passa {1} vegades al dia, però els diumenges només arriba "
        "fins a l'església.",
        "L'escola té un hort gran on els nens conreen verdures."),
    "nl": (
        "De markt in {} gaat elke zaterdag om {1} uur open en sluit vroeg in "
        "de middag.",
        "Wie in de herfst naar {} gaat, kan beter warme kleren en goede "
        "schoenen meenemen.",
        "De oude brug over de rivier werd {1} jaar geleden gebouwd en is "
        "sindsdien twee keer hersteld.",
        "In het museum van {} hangen {1} schilderijen, bijna allemaal uit de "
        "streek.",
        "De gemeente heeft besloten om de weg naar het station volgend jaar "
        "te vernieuwen.",
        "Veel gezinnen komen hier in het weekend, omdat het bos meteen "
        "achter het dorp begint.",
        "Het brood wordt nog met de hand gemaakt en dat ruik je al vroeg in "
        "de ochtend.",
        "Na een lange winter kijkt iedereen uit naar de eerste warme dagen "
        "in {}.",
        "De bus rijdt {1} keer per dag, maar op zondag alleen tot aan de "
        "kerk.",
        "De school heeft een grote tuin waar de kinderen groente kweken."),
    "pl": (
        "Targ w mieście {} jest otwarty w każdą sobotę od godziny {1} do "
        "wczesnego popołudnia.",
        "Kto jedzie jesienią do {}, powinien zabrać ciepłe ubrania i dobre "
        "buty.",
        "Stary most nad rzeką zbudowano {1} lat temu i od tamtej pory dwa "
        "razy go odnawiano.",
        "W muzeum w {} wisi {1} obrazów, a większość z nich pochodzi z tej "
        "okolicy.",
        "Gmina postanowiła w przyszłym roku wyremontować drogę prowadzącą do "
        "dworca.",
        "Wiele rodzin przyjeżdża tu w weekendy, ponieważ las zaczyna się "
        "zaraz za wsią.",
        "Chleb wciąż piecze się ręcznie i jego zapach czuć już wcześnie "
        "rano.",
        "Po długiej zimie wszyscy czekają na pierwsze ciepłe dni w dolinie "
        "{}.",
        "Autobus jeździ {1} razy dziennie, ale w niedzielę tylko do "
        "kościoła.",
        "Szkoła ma duży ogród, w którym dzieci uprawiają warzywa."),
    "sv": (
        "Torget i {} öppnar varje lördag klockan {1} och stänger tidigt på "
        "eftermiddagen.",
        "Den som reser till {} på hösten bör ta med sig varma kläder och "
        "bra skor.",
        "Den gamla bron över ån byggdes för {1} år sedan och har sedan dess "
        "renoverats två gånger.",
        "På museet i {} hänger {1} målningar, de flesta av dem från trakten.",
        "Kommunen har beslutat att vägen till stationen ska läggas om nästa "
        "år.",
        "Många familjer kommer hit på helgerna eftersom skogen börjar "
        "direkt bakom byn.",
        "Brödet bakas fortfarande för hand och man känner doften redan "
        "tidigt på morgonen.",
        "Efter en lång vinter ser alla fram emot de första varma dagarna i "
        "{}.",
        "Bussen går {1} gånger om dagen, men på söndagar bara till kyrkan.",
        "Skolan har en stor trädgård där barnen odlar grönsaker."),
    "ru": (
        "Рынок в городе {} открывается каждую субботу в {1} часов и "
        "закрывается после обеда.",
        "Тому, кто едет осенью в {}, стоит взять тёплую одежду и хорошую "
        "обувь.",
        "Старый мост через реку построили {1} лет назад и с тех пор дважды "
        "обновляли.",
        "В музее города {} висит {1} картин, и почти все они написаны "
        "местными художниками.",
        "Городской совет решил в следующем году отремонтировать дорогу к "
        "вокзалу.",
        "Многие семьи приезжают сюда по выходным, потому что лес начинается "
        "сразу за деревней.",
        "Хлеб здесь до сих пор пекут вручную, и его запах слышен с раннего "
        "утра.",
        "После долгой зимы все ждут первых тёплых дней в долине {}.",
        "Автобус ходит {1} раз в день, но по воскресеньям только до церкви.",
        "У школы большой сад, в котором дети выращивают овощи."),
    "zh": (
        "{}的集市每个星期六上午{1}点开门，下午早些时候就收摊了。",
        "秋天去{}旅行的人，最好带上保暖的衣服和舒适的鞋子。",
        "河上的那座老桥建于{1}年前，此后曾经两次整修。",
        "{}的博物馆里挂着{1}幅画，其中大部分出自本地画家之手。",
        "镇里已经决定，明年重新铺设通往车站的道路。",
        "许多家庭周末都来这里，因为村子后面就是一片树林。",
        "面包仍然是手工做的，清晨就能闻到它的香味。",
        "漫长的冬天过去以后，大家都盼望着山谷里最初的温暖日子。",
        "公共汽车每天开{1}趟，星期天只开到教堂。",
        "学校有一个很大的园子，孩子们在里面种蔬菜。"),
    "ja": (
        "{}の市場は毎週土曜日の{1}時に開き、午後早くに閉まります。",
        "秋に{}へ行く人は、暖かい服と歩きやすい靴を持って行くとよいでしょう。",
        "川にかかる古い橋は{1}年前に建てられ、その後二度修理されました。",
        "{}の博物館には{1}点の絵が飾られていて、ほとんどが地元の画家の作品です。",
        "町は来年、駅までの道を舗装し直すことを決めました。",
        "村のすぐ裏から森が始まるので、週末には多くの家族がここを訪れます。",
        "パンは今でも手作りで、朝早くからよい香りがします。",
        "長い冬のあと、みんなが最初の暖かい日を楽しみにしています。",
        "バスは一日に{1}本走りますが、日曜日は教会までしか行きません。",
        "学校には大きな庭があり、子どもたちが野菜を育てています。"),
}


def text(rng: random.Random, language: str) -> tuple[str, list[str]]:
  """A title and the paragraphs of a page."""
  place = rng.choice(_PLACES)
  sentences = [_filled(rng, pattern) for pattern in
               rng.sample(SENTENCES[language], len(SENTENCES[language]))]
  middle = rng.randrange(4, 7)
  gap = "" if language in ("zh", "ja") else " "
  return place, [gap.join(sentences[:middle]), gap.join(sentences[middle:])]


def _filled(rng: random.Random, pattern: str) -> str:
  number = str(rng.randrange(6, 240))
  return (pattern.replace("{} Uhr", f"{number} Uhr").replace("{1}", number)
          .replace("{}", rng.choice(_PLACES)))
