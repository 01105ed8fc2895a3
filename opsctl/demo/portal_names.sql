-- Generated names, and the draws that everything made up in the portal comes from: functions of this session.

-- A draw depends on its number, its stream and the seed only, not on the order in which rows are visited.
SELECT format($make$
    CREATE FUNCTION pg_temp.draw(n bigint, stream bigint) RETURNS bigint LANGUAGE sql IMMUTABLE PARALLEL SAFE
    AS 'SELECT hashint8extended(n, %s + stream) & 9223372036854775807'
$make$, :seed::bigint * 1000)
\gexec

CREATE FUNCTION pg_temp.man_hi(d bigint) RETURNS text LANGUAGE sql IMMUTABLE AS $$
    SELECT ('{राम,श्याम,मोहन,सुरेश,रमेश,महेश,राजेश,दिनेश,मुकेश,अनिल,सुनील,विजय,अजय,संजय,प्रकाश,कैलाश,
        गोपाल,हरीश,जितेन्द्र,नरेन्द्र,राकेश,अशोक,विनोद,प्रमोद,मनोज,दीपक,अरुण,शिवकुमार,बृजेश,इमरान,
        सलीम,रहीम}'::text[])[1 + d % 32]
$$;
CREATE FUNCTION pg_temp.man_en(d bigint) RETURNS text LANGUAGE sql IMMUTABLE AS $$
    SELECT ('{Ram,Shyam,Mohan,Suresh,Ramesh,Mahesh,Rajesh,Dinesh,Mukesh,Anil,Sunil,Vijay,Ajay,Sanjay,
        Prakash,Kailash,Gopal,Harish,Jitendra,Narendra,Rakesh,Ashok,Vinod,Pramod,Manoj,Deepak,Arun,
        Shivkumar,Brijesh,Imran,Salim,Rahim}'::text[])[1 + d % 32]
$$;
CREATE FUNCTION pg_temp.woman_hi(d bigint) RETURNS text LANGUAGE sql IMMUTABLE AS $$
    SELECT ('{सीता,गीता,रीता,सुनीता,अनीता,कविता,सविता,ममता,रेखा,सुशीला,उर्मिला,शकुन्तला,लक्ष्मी,पार्वती,
        सरस्वती,राधा,मीना,वन्दना,अर्चना,रंजना,कल्पना,ज्योति,आरती,पूजा,प्रीति,नेहा,शबाना,फ़रज़ाना,
        मीरा,कमला,विमला,निर्मला}'::text[])[1 + d % 32]
$$;
CREATE FUNCTION pg_temp.woman_en(d bigint) RETURNS text LANGUAGE sql IMMUTABLE AS $$
    SELECT ('{Sita,Gita,Rita,Sunita,Anita,Kavita,Savita,Mamta,Rekha,Sushila,Urmila,Shakuntala,Lakshmi,
        Parvati,Saraswati,Radha,Meena,Vandana,Archana,Ranjana,Kalpana,Jyoti,Aarti,Pooja,Preeti,Neha,
        Shabana,Farzana,Meera,Kamla,Vimla,Nirmala}'::text[])[1 + d % 32]
$$;
CREATE FUNCTION pg_temp.family_hi(d bigint) RETURNS text LANGUAGE sql IMMUTABLE AS $$
    SELECT ('{शर्मा,वर्मा,गुप्ता,मिश्रा,तिवारी,दुबे,चौबे,पाण्डेय,पटेल,पाटीदार,यादव,कुशवाहा,लोधी,राजपूत,
        सिंह,चौहान,परमार,सोलंकी,राठौर,जैन,अग्रवाल,मालवीय,विश्वकर्मा,प्रजापति,सेन,साहू,अहिरवार,धाकड़,
        मीणा,ख़ान,अंसारी,सोनी}'::text[])[1 + d % 32]
$$;
CREATE FUNCTION pg_temp.family_en(d bigint) RETURNS text LANGUAGE sql IMMUTABLE AS $$
    SELECT ('{Sharma,Verma,Gupta,Mishra,Tiwari,Dubey,Choubey,Pandey,Patel,Patidar,Yadav,Kushwaha,Lodhi,
        Rajput,Singh,Chouhan,Parmar,Solanki,Rathore,Jain,Agrawal,Malviya,Vishwakarma,Prajapati,Sen,
        Sahu,Ahirwar,Dhakad,Meena,Khan,Ansari,Soni}'::text[])[1 + d % 32]
$$;
CREATE FUNCTION pg_temp.citizen_hi(d bigint) RETURNS text LANGUAGE sql IMMUTABLE AS $$
    SELECT CASE WHEN d % 5 < 3 THEN pg_temp.man_hi(d >> 8) ELSE pg_temp.woman_hi(d >> 8) END
        || ' ' || pg_temp.family_hi(d >> 16)
$$;
CREATE FUNCTION pg_temp.citizen_en(d bigint) RETURNS text LANGUAGE sql IMMUTABLE AS $$
    SELECT CASE WHEN d % 5 < 3 THEN pg_temp.man_en(d >> 8) ELSE pg_temp.woman_en(d >> 8) END
        || ' ' || pg_temp.family_en(d >> 16)
$$;

CREATE FUNCTION pg_temp.groom_hi(d bigint) RETURNS text LANGUAGE sql IMMUTABLE AS $$
    SELECT pg_temp.man_hi(d) || ' ' || pg_temp.family_hi(d >> 5)
$$;
CREATE FUNCTION pg_temp.groom_en(d bigint) RETURNS text LANGUAGE sql IMMUTABLE AS $$
    SELECT pg_temp.man_en(d) || ' ' || pg_temp.family_en(d >> 5)
$$;
CREATE FUNCTION pg_temp.bride_hi(d bigint) RETURNS text LANGUAGE sql IMMUTABLE AS $$
    SELECT pg_temp.woman_hi(d >> 10) || ' ' || pg_temp.family_hi(d >> 15)
$$;
CREATE FUNCTION pg_temp.bride_en(d bigint) RETURNS text LANGUAGE sql IMMUTABLE AS $$
    SELECT pg_temp.woman_en(d >> 10) || ' ' || pg_temp.family_en(d >> 15)
$$;

-- 32 stems by 13 endings: a different town for each body.
CREATE FUNCTION pg_temp.town_hi(n integer) RETURNS text LANGUAGE sql IMMUTABLE AS $$
    SELECT ('{राम,शिव,हरि,देव,सूरज,चन्द,गोपाल,माधव,केशव,नन्द,सोन,रतन,मोती,लाल,नील,कमल,आम,पीपल,बड़,नीम,खेम,
        जय,विजय,अमर,धन,सुख,शान्ति,प्रेम,राज,भीम,अर्जुन,कर्ण}'::text[])[1 + n % 32]
        || ('{पुर,गढ़,नगर,गाँव,वाड़ा,खेड़ा,पुरा,गंज,कोट,ताल,घाट,टोला,सर}'::text[])[1 + n / 32 % 13]
$$;
CREATE FUNCTION pg_temp.town_en(n integer) RETURNS text LANGUAGE sql IMMUTABLE AS $$
    SELECT ('{Ram,Shiv,Hari,Dev,Suraj,Chand,Gopal,Madhav,Keshav,Nand,Son,Ratan,Moti,Lal,Neel,Kamal,Aam,
        Pipal,Bad,Neem,Khem,Jai,Vijay,Amar,Dhan,Sukh,Shanti,Prem,Raj,Bhim,Arjun,Karn}'::text[])[1 + n % 32]
        || ('{pur,garh,nagar,gaon,wada,kheda,pura,ganj,kot,tal,ghat,tola,sar}'::text[])[1 + n / 32 % 13]
$$;
CREATE FUNCTION pg_temp.trade_hi(d bigint) RETURNS text LANGUAGE sql IMMUTABLE AS $$
    SELECT ('{किराना,मिठाई,दवाई,कपड़ा,हार्डवेयर,जूते,चाय की दुकान,भोजनालय,मोबाइल मरम्मत,आटा चक्की,बर्तन,
        फल और सब्ज़ी,पुस्तक,सैलून,टायर,फ़र्नीचर}'::text[])[1 + d % 16]
$$;
CREATE FUNCTION pg_temp.trade_en(d bigint) RETURNS text LANGUAGE sql IMMUTABLE AS $$
    SELECT ('{grocery,sweets,medicines,cloth,hardware,shoes,tea stall,restaurant,mobile repair,flour mill,
        utensils,fruit and vegetables,books,salon,tyres,furniture}'::text[])[1 + d % 16]
$$;

-- A third of the business is in the 16 corporations, the rest in councils.
CREATE FUNCTION pg_temp.body_of(d bigint) RETURNS integer LANGUAGE sql IMMUTABLE AS $$
    SELECT (CASE WHEN d % 100 < 35 THEN 1 + d / 100 % 16
                 WHEN d % 100 < 65 THEN 17 + d / 100 % 99
                 ELSE 116 + d / 100 % 297 END)::integer
$$;
-- A moment in the hours that a counter is open, in Indian time.
CREATE FUNCTION pg_temp.at_counter(day date, d bigint) RETURNS timestamptz LANGUAGE sql IMMUTABLE AS $$
    SELECT (day + interval '10 hours' + (d % 25200) * interval '1 second') AT TIME ZONE 'Asia/Kolkata'
$$;
CREATE FUNCTION pg_temp.method(d bigint) RETURNS text LANGUAGE sql IMMUTABLE AS $$
    SELECT ('{cash,upi,card,cheque,net banking}'::text[])[1 + d % 5]
$$;
